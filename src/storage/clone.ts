// Range clones: on file systems that share extents (btrfs, xfs), bytes that are copied unchanged need not move. Needs the optional package
// `koffi` for one system call that Node does not have; without it, everything is copied. Never required.
import fs from "node:fs";

/** Makes a range of `to` share the bytes of `from`; false when the system will not, and nothing happened. Offsets and length are aligned. */
export type CloneRange = (from: number, fromOffset: number, to: number, toOffset: number, length: number) => boolean;

/** Offsets and lengths of a clone are multiples of the file system's block, which is 4096 bytes nearly everywhere. */
export const CLONE_ALIGNMENT = 4096;

/** The part of koffi that is used here. */
interface Koffi {
  load(library: null): { func(declaration: string): (fd: number, request: number, range: Uint8Array) => number };
}

/** statfs types of btrfs, xfs and bcachefs (linux/magic.h). */
const CLONING: ReadonlySet<number> = new Set([0x9123683e, 0x58465342, 0xca451a4e]);
/** _IOW(0x94, 13, struct file_clone_range) of linux/fs.h, on architectures with the common ioctl encoding. */
const FICLONERANGE = 0x4020940d;
const ARCHITECTURES: ReadonlySet<string> = new Set(["x64", "arm64", "riscv64", "loong64"]);
// Typed as a string, so that the compiler does not look for a package that need not be there.
const PACKAGE: string = "koffi";

let loading: Promise<CloneRange | undefined> | undefined;

/** Clones ranges, or undefined where that is impossible. */
export function loadCloneRange(): Promise<CloneRange | undefined> {
  loading ??= load();
  return loading;
}

/** True when files on the disk of an existing directory may share extents and the means to ask for it are installed. */
export async function canClone(directory: string): Promise<boolean> {
  if (process.platform !== "linux" || !CLONING.has(fs.statfsSync(directory).type)) return false;
  return (await loadCloneRange()) !== undefined;
}

async function load(): Promise<CloneRange | undefined> {
  if (process.platform !== "linux" || !ARCHITECTURES.has(process.arch)) return undefined;
  try {
    const module: { readonly default: Koffi } = await import(PACKAGE);
    const ioctl = module.default.load(null).func("int ioctl(int fd, unsigned long request, uint8_t *range)");
    return (from, fromOffset, to, toOffset, length) => {
      const range = Buffer.alloc(32);
      for (const [at, value] of [from, fromOffset, length, toOffset].entries())
        range.writeBigInt64LE(BigInt(value), 8 * at);
      return ioctl(to, FICLONERANGE, range) === 0;
    };
  } catch {
    // Not installed, or not for this system: an optional package that fails is one that is not there.
    return undefined;
  }
}
