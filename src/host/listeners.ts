/** A list of callbacks, for modules that must not know the editor. */
export interface Subscription {
  dispose(): void;
}

export class Listeners<T> {
  private readonly callbacks = new Set<(value: T) => void>();

  readonly subscribe = (callback: (value: T) => void): Subscription => {
    this.callbacks.add(callback);
    return {
      dispose: () => {
        this.callbacks.delete(callback);
      },
    };
  };

  fire(value: T): void {
    for (const callback of [...this.callbacks]) callback(value);
  }
}
