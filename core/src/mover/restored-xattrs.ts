/** Set only where it is asked for, by whoever labels the machine. */
const NOT_RESTORED = new Set(['security.selinux']);

export function isRestored(xattr: Buffer): boolean {
  return !NOT_RESTORED.has(xattr.toString('latin1'));
}
