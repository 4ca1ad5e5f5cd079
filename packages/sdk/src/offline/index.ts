/** What works with no network and no service: spelling an opened key for other people's software. */

export {
  type EnclaveKeys,
  isDrillPassed,
  type SignedCertificate,
  verifyDrillCertificate,
} from './drill-certificate.ts';
export { type ExportFormat, type ExportOptions, exportKey } from './export-key.ts';
