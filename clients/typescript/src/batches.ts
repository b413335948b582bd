/** Cut items into batches of at most `most` items, and of at most `bytes` unless one item alone is larger. */
export async function* batches<T>(
  items: Iterable<T> | AsyncIterable<T>,
  limits: { readonly most: number; readonly bytes: number },
  bytesOf: (item: T) => number,
): AsyncGenerator<T[], void, undefined> {
  let filling: T[] = [];
  let bytes = 0;
  for await (const item of items) {
    const size = bytesOf(item);
    if (filling.length === limits.most || (filling.length > 0 && bytes + size > limits.bytes)) {
      yield filling;
      [filling, bytes] = [[], 0];
    }
    filling.push(item);
    bytes += size;
  }
  if (filling.length > 0) {
    yield filling;
  }
}
