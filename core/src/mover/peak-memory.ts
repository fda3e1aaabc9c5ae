import { readFileSync } from 'node:fs';

/**
 * The most memory that this process has had, in bytes. `resourceUsage().maxRSS` would be no less than its parent's: Linux counts
 * what a process was before it became this program (`proc_pid_status(5)`, VmHWM, begins anew with the program).
 */
export function peakMemoryBytes(): number {
  if (process.platform !== 'linux') return process.resourceUsage().maxRSS * 1024;
  return Number(/^VmHWM:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? 0) * 1024;
}
