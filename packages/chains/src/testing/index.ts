/** What tests of other packages use of this one: the promises that a store of reservations made elsewhere has to keep. */
export { type ReservationsCase, type ReservationsHarness, reservationsCases } from '../spends.conformance.ts';
