/**
 * A multinomial logistic regression on the words of the instruction, order ignored: what the answer's
 * statistics alone give away. Trained by full-batch gradient descent in fp64, deterministic.
 */
export interface LabelledText {
  instruction: string;
  answer: string;
}

const words = (text: string): string[] => text.toLowerCase().match(/[a-z]+|[0-9]+/g) ?? [];

/**
 * @returns share of test items whose answer is predicted exactly, in [0, 1]
 */
export function bagOfWordsAccuracy(
  train: readonly LabelledText[],
  test: readonly LabelledText[],
  options: { iterations: number; learningRate: number } = { iterations: 300, learningRate: 0.5 },
): number {
  const features = indexOf(train.flatMap(({ instruction }) => words(instruction)));
  const classes = indexOf(train.map(({ answer }) => answer));
  const width = features.size + 1; // the last column is the bias
  const weights = new Float64Array(classes.size * width);
  const squares = new Float64Array(weights.length);
  const rows = train.map((item) => vector(item.instruction, features));
  const targets = train.map(({ answer }) => classes.get(answer)!);
  for (let iteration = 0; iteration < options.iterations; iteration += 1) {
    const gradient = new Float64Array(weights.length);
    rows.forEach((row, n) => {
      const scores = softmax(scoresOf(weights, row, classes.size, width));
      for (let c = 0; c < classes.size; c += 1) {
        const error = scores[c]! - (c === targets[n] ? 1 : 0);
        for (const [feature, count] of row) {
          gradient[c * width + feature]! += (error * count) / rows.length;
        }
      }
    });
    // Adagrad: words differ in frequency by orders of magnitude.
    for (let i = 0; i < weights.length; i += 1) {
      squares[i]! += gradient[i]! ** 2;
      weights[i]! -= (options.learningRate * gradient[i]!) / (Math.sqrt(squares[i]!) + 1e-8);
    }
  }
  const names = [...classes.keys()];
  const correct = test.filter(({ instruction, answer }) => {
    const scores = scoresOf(weights, vector(instruction, features), classes.size, width);
    return names[scores.indexOf(Math.max(...scores))] === answer;
  });
  return correct.length / test.length;
}

/** Accuracy of always giving the training set's most frequent answer. */
export function mostFrequentAnswerAccuracy(
  train: readonly LabelledText[],
  test: readonly LabelledText[],
): number {
  const counts = new Map<string, number>();
  for (const { answer } of train) counts.set(answer, (counts.get(answer) ?? 0) + 1);
  const [best] = [...counts].toSorted((a, b) => b[1] - a[1]);
  return test.filter(({ answer }) => answer === best?.[0]).length / test.length;
}

type SparseRow = readonly (readonly [feature: number, count: number])[];

function indexOf(items: readonly string[]): Map<string, number> {
  return new Map([...new Set(items)].toSorted().map((item, i) => [item, i]));
}

function vector(text: string, features: ReadonlyMap<string, number>): SparseRow {
  const counts = new Map<number, number>([[features.size, 1]]);
  for (const word of words(text)) {
    const feature = features.get(word);
    if (feature !== undefined) counts.set(feature, (counts.get(feature) ?? 0) + 1);
  }
  return [...counts];
}

function scoresOf(weights: Float64Array, row: SparseRow, classes: number, width: number): number[] {
  return Array.from({ length: classes }, (_, c) =>
    row.reduce((sum, [feature, count]) => sum + count * weights[c * width + feature]!, 0),
  );
}

function softmax(scores: readonly number[]): number[] {
  const largest = Math.max(...scores);
  const exponentials = scores.map((score) => Math.exp(score - largest));
  const sum = exponentials.reduce((a, b) => a + b, 0);
  return exponentials.map((value) => value / sum);
}
