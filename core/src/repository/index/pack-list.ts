import { kindCode, kindOf, PACK_ID_BYTES, type PackInfo } from '../format/table.ts';

/** Packs that a segment names, in 21 bytes each. */
export class PackList {
  readonly sizes: Uint32Array;
  readonly #ids: Buffer;
  readonly #kinds: Uint8Array;

  constructor(packs: readonly PackInfo[]) {
    this.sizes = Uint32Array.from(packs, (pack) => pack.size);
    this.#kinds = Uint8Array.from(packs, (pack) => kindCode(pack.kind));
    this.#ids = Buffer.allocUnsafe(packs.length * PACK_ID_BYTES);
    packs.forEach(({ id }, i) => this.#ids.write(id, i * PACK_ID_BYTES, 'hex'));
  }

  get length(): number {
    return this.sizes.length;
  }

  at(index: number): PackInfo {
    const from = index * PACK_ID_BYTES;
    return {
      id: this.#ids.toString('hex', from, from + PACK_ID_BYTES),
      kind: kindOf(this.#kinds[index], 'the index'),
      size: this.sizes[index] as number,
    };
  }

  *[Symbol.iterator](): Generator<PackInfo> {
    for (let i = 0; i < this.length; i++) yield this.at(i);
  }
}
