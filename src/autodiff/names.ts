// Names of what is appended to a tape: behind an @, inside of scopes, never one that is there. Knows no value.
export class Naming {
  readonly #isTaken: (name: string) => boolean;
  /** How often a stem was asked for. */
  readonly #counts = new Map<string, number>();
  #scope = "";

  constructor(isTaken: (name: string) => boolean) {
    this.#isTaken = isTaken;
  }

  within<T>(scope: string, make: () => T): T {
    const outer = this.#scope;
    this.#scope = outer === "" ? scope : `${outer}/${scope}`;
    try {
      return make();
    } finally {
      this.#scope = outer;
    }
  }

  /** A new name inside of the scope. */
  fresh(stem: string): string {
    return this.freshOutside(this.#scope === "" ? stem : `${this.#scope}/${stem}`);
  }

  /** A new name, whatever the scope. */
  freshOutside(stem: string): string {
    for (;;) {
      const count = this.#counts.get(stem) ?? 0;
      this.#counts.set(stem, count + 1);
      const name = `@${stem}${count === 0 ? "" : `_${count}`}`;
      if (!this.#isTaken(name)) return name;
    }
  }
}
