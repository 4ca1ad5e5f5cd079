/** DANGER: whole private keys, for export and disaster recovery. See `whole-key.ts`. */
export { type ExportOptions, exportKey } from './session.ts';
export {
  assembleWholeKey,
  deriveWholeKey,
  signEd25519WithScalar,
  toXprv,
  toXpub,
  type WholeKey,
} from './whole-key.ts';
