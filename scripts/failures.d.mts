export interface Failure {
  suite: string;
  /** Relative to the working directory; empty where it was no file's. */
  file: string;
  test: string;
  message: string;
}
export function failuresOf(
  suite: string,
  report: { failures: readonly Omit<Failure, 'suite'>[] },
  status: number | null,
): Failure[];
export function failureSummary(failures: readonly Failure[]): string;
