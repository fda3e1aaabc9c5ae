/** Set only where it is asked for, by whoever labels the machine. */
const NOT_RESTORED = new Set(['security.selinux']);

export function isRestored(xattr: Buffer): boolean {
  return !NOT_RESTORED.has(xattr.toString('latin1'));
}

/** Those of one entry. */
export interface XattrCalls {
  readonly list: () => readonly Buffer[];
  readonly set: (name: Buffer, value: Buffer) => void;
  readonly remove: (name: Buffer) => void;
}

/**
 * Makes the extended attributes of an entry those of the backup, in two parts. `user.*` at once: they take permission to write, which the final mode may take even from the owner. The others, among them ACLs
 * and capabilities, which chown and chmod change, when the returned function is called.
 */
export function setXattrs(
  xattrs: readonly { readonly name: Uint8Array; readonly value: Uint8Array }[],
  { list, set, remove }: XattrCalls,
  attempt: (set: () => void) => void,
): () => void {
  const wanted = xattrs.map(({ name, value }) => ({ name: Buffer.from(name), value: Buffer.from(value) }));
  const names = new Set(wanted.map(({ name }) => name.toString('latin1')));
  let extra: readonly Buffer[] = [];
  attempt(() => {
    // Such as an ACL that was inherited when the entry was made.
    extra = list().filter((name) => !names.has(name.toString('latin1')));
  });
  const change = (areOfUser: boolean): void => {
    const isNow = (name: Buffer) => isRestored(name) && name.toString('latin1').startsWith('user.') === areOfUser;
    for (const name of extra)
      if (isNow(name))
        attempt(() => {
          remove(name);
        });
    for (const { name, value } of wanted)
      if (isNow(name))
        attempt(() => {
          set(name, value);
        });
  };
  change(true);
  return () => {
    change(false);
  };
}
