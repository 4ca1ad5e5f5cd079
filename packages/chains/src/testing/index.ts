/** What tests of other packages use of this one: the promises that a store of reservations made elsewhere has to keep. */
export { type ReservationsCase, type ReservationsHarness, reservationsCases } from '../spends.conformance.ts';
/** Electrum as the wallet of another author, and keys in the clear for the holders beside us: for journeys. */
export { type Electrum, electrumIsMissing, withElectrum } from './electrum.ts';
export { type TreeHolder, treeHolder } from './holders.ts';
