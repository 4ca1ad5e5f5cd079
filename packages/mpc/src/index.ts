export { MpcError } from './errors.ts';
