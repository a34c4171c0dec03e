// Two words of memory that all threads of one run share: "stop" and how many bytes are done. Never holds anything else.

/** Shared between the thread that was asked and the threads that copy. */
export class Control {
  /** What to hand to a worker thread, which wraps it again. */
  readonly shared: SharedArrayBuffer;
  readonly #stop: Int32Array;
  readonly #done: BigInt64Array;

  constructor(shared: SharedArrayBuffer = new SharedArrayBuffer(16)) {
    this.shared = shared;
    this.#stop = new Int32Array(shared, 0, 1);
    this.#done = new BigInt64Array(shared, 8, 1);
  }

  /** Makes every thread end at its next chunk. */
  stop(): void {
    Atomics.store(this.#stop, 0, 1);
  }

  get stopped(): boolean {
    return Atomics.load(this.#stop, 0) !== 0;
  }

  add(bytes: number): void {
    Atomics.add(this.#done, 0, BigInt(bytes));
  }

  /** Bytes done by all threads, holes included. */
  get done(): number {
    return Number(Atomics.load(this.#done, 0));
  }
}
