/** Smaller buffers are left to the collector. */
const MIN_BYTES = 8 << 10;
/** Smaller ones may be parts of Node's pool. */
const MIN_SHARED_BYTES = 128 << 10;

/** Gives back at once the memory of buffers that nobody uses any more: at our rate the collector would come hundreds of megabytes late. */
export function discard(memory: ArrayBufferLike): void {
  if (memory instanceof ArrayBuffer && memory.byteLength >= MIN_SHARED_BYTES) memory.transfer(0);
}

/** The same for a view that is all of its buffer, but for a byte (see `unpackPayload`); of one that is a part, others may use the rest. */
export function discardView(bytes: Uint8Array | undefined): void {
  if (bytes === undefined || bytes.byteLength < MIN_BYTES || bytes.buffer.byteLength - bytes.byteLength > 1) return;
  if (bytes.buffer instanceof ArrayBuffer) bytes.buffer.transfer(0);
}
