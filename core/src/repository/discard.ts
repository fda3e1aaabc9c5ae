/** Smaller buffers are left to the collector; they may also be parts of Node's pool. */
const MIN_BYTES = 128 << 10;

/** Gives back at once the memory of buffers that nobody uses any more: at our rate the collector would come hundreds of megabytes late. */
export function discard(memory: ArrayBufferLike): void {
  if (memory instanceof ArrayBuffer && memory.byteLength >= MIN_BYTES) memory.transfer(0);
}

/** The same for a view that is all of its buffer; of one that is a part, others may use the rest. */
export function discardView(bytes: Uint8Array | undefined): void {
  if (bytes?.byteLength === bytes?.buffer.byteLength && bytes !== undefined) discard(bytes.buffer);
}
