import { dimension, expectSameRows } from '../shape';
import type { Tensor } from '../graph';
import { reduceSum } from '../ops/broadcast';
import { add, div, exp, log, mul, neg, sub } from '../ops/elementwise';
import { addToColumns, pickColumns } from '../ops/indexing';
import { reduceMax } from '../ops/reduce';

/**
 * Negative log-likelihood of each row, `[rows, 1]`, times its weight: log-sum-exp minus the target's
 * logit, exact however unlikely the target is.
 * @param logits `[rows, vocab]`
 * @param labels int32 `[rows, 1]`, each a valid column, also where the weight is 0
 * @param weights `[rows, 1]`: 1 where the row counts, 0 where its label is ignored
 */
export function crossEntropy(logits: Tensor, labels: Tensor, weights: Tensor): Tensor {
  expectSameRows(logits.shape, labels.shape, dimension(weights.shape, 0));
  const largest = reduceMax(logits, [-1]);
  const exponentials = exp(sub(logits, largest));
  const total = reduceSum(exponentials, [-1]);
  const loss = sub(add(log(total), largest), pickColumns(logits, labels));
  return logits.graph.withOrigin(mul(loss, weights), {
    inputs: [logits],
    // d(loss)/d(logits) = softmax - one-hot(label)
    vjp: (dy) => {
      const rowScale = mul(dy, weights);
      return [addToColumns(mul(exponentials, div(rowScale, total)), labels, neg(rowScale))];
    },
  });
}
