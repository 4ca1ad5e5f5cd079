/** For tests and journeys; no shipped entry imports it. */
export { type DrivenClock, drivenClock } from './driven-clock.ts';
