// What clipping by the global norm makes of gradients. Knows no tensors.

/** torch's. */
export const CLIP_EPSILON = 1e-6;

/** As torch.nn.utils.clip_grad_norm_ has it: at most 1, and a little below limit / norm. Without a limit 1. */
export function clipFactor(norm: number, limit: number | undefined): number {
  return limit === undefined ? 1 : Math.min(1, limit / (norm + CLIP_EPSILON));
}
