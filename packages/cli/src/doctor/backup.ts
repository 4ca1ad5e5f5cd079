/** How old the newest backup may be. Both ways of asking, the running service and its databases, end here. */
import type { Home } from '../settings.ts';
import { bad, type Finding, good } from './findings.ts';

const DAY_S = 86_400;
const AGE_S_MAX = 7 * DAY_S;

/** `ageS`: null when there is none. */
export function backupFinding(home: Home, ageS: number | null): Finding {
  if (ageS === null) return bad(home, 'backup_missing', 'none was ever made');
  const said = ageS < DAY_S ? `${(ageS / 3600).toFixed(1)} h old` : `${Math.floor(ageS / DAY_S)} days old`;
  return ageS <= AGE_S_MAX ? good('backup', said) : bad(home, 'backup_old', said);
}
