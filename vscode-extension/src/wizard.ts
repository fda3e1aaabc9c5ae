import { QuickInputButtons, window, type Disposable, type QuickInputButton, type QuickPickItem } from 'vscode';

/** What a step comes to: a value, a step back, or nothing when the user left. */
export type Answer<T> = { readonly value: T } | 'back' | undefined;

export interface StepPlace {
  readonly title: string;
  /** From 1. */
  readonly step: number;
  readonly totalSteps: number;
}

export interface Choice<T> extends QuickPickItem {
  readonly value?: T;
}

export interface PickOptions<T> extends StepPlace {
  readonly placeholder: string;
  readonly items: readonly Choice<T>[] | Promise<readonly Choice<T>[]>;
  readonly active?: (item: Choice<T>) => boolean;
  readonly buttons?: readonly (QuickInputButton & { press(): unknown })[];
  /** What a typed text that matches no item stands for. */
  readonly typed?: (text: string) => Choice<T> | undefined;
  /** What a button of an item does. */
  readonly pressItem?: (item: Choice<T>) => unknown;
}

/** One of several. */
export async function pick<T>(options: PickOptions<T>): Promise<Answer<T>> {
  const input = window.createQuickPick<Choice<T>>();
  Object.assign(input, place(options), { placeholder: options.placeholder, matchOnDescription: true, matchOnDetail: true });
  input.buttons = [...backButton(options), ...(options.buttons ?? [])];
  return ask<T>(input, (answer, fail) => {
    fill(input, options).catch(fail);
    return [
      input.onDidAccept(() => {
        const [chosen] = input.selectedItems;
        if (chosen?.value !== undefined) answer({ value: chosen.value });
      }),
      input.onDidTriggerButton((button) => {
        if (button === QuickInputButtons.Back) answer('back');
        else options.buttons?.find((known) => known === button)?.press();
      }),
      input.onDidTriggerItemButton(({ item }) => options.pressItem?.(item)),
    ];
  });
}

async function fill<T>(input: ReturnType<typeof window.createQuickPick<Choice<T>>>, options: PickOptions<T>): Promise<void> {
  input.busy = true;
  const items = await options.items;
  input.items = items;
  const active = items.find((item) => options.active?.(item));
  if (active !== undefined) input.activeItems = [active];
  input.onDidChangeValue((text) => {
    const typed = text.trim() === '' || items.some(({ label }) => label === text.trim()) ? undefined : options.typed?.(text.trim());
    input.items = typed === undefined ? items : [typed, ...items];
  });
  input.busy = false;
}

/** Any of several; the chosen ones. */
export async function pickMany<T>(
  options: StepPlace & { readonly placeholder: string; readonly items: readonly (Choice<T> & { readonly isOn: boolean })[] },
): Promise<Answer<readonly T[]>> {
  const input = window.createQuickPick<Choice<T>>();
  Object.assign(input, place(options), { placeholder: options.placeholder, canSelectMany: true });
  input.buttons = backButton(options);
  input.items = options.items;
  input.selectedItems = options.items.filter(({ isOn }) => isOn);
  return ask<readonly T[]>(input, (answer) => [
    input.onDidAccept(() => {
      answer({ value: input.selectedItems.flatMap(({ value }) => (value === undefined ? [] : [value])) });
    }),
    input.onDidTriggerButton(() => {
      answer('back');
    }),
  ]);
}

export interface TextOptions extends StepPlace {
  readonly prompt: string;
  readonly isSecret?: boolean;
}

export async function askText(options: TextOptions): Promise<Answer<string>> {
  const input = window.createInputBox();
  Object.assign(input, place(options), { prompt: options.prompt, password: options.isSecret === true });
  input.buttons = backButton(options);
  return ask<string>(input, (answer) => [
    input.onDidAccept(() => {
      if (input.value.trim() !== '') answer({ value: input.value.trim() });
    }),
    input.onDidTriggerButton(() => {
      answer('back');
    }),
  ]);
}

function place({ title, step, totalSteps }: StepPlace) {
  // What is typed must survive a look at another window.
  return { title, step, totalSteps, ignoreFocusOut: true };
}

function backButton({ step }: StepPlace): QuickInputButton[] {
  return step > 1 ? [QuickInputButtons.Back] : [];
}

function ask<T>(
  input: { show(): void; dispose(): void; onDidHide(listen: () => void): Disposable },
  listen: (answer: (a: Answer<T>) => void, fail: (e: unknown) => void) => readonly Disposable[],
): Promise<Answer<T>> {
  return new Promise((resolve, reject) => {
    const answer = (value: Answer<T>): void => {
      resolve(value);
      input.dispose();
    };
    const fail = (e: unknown): void => {
      reject(e instanceof Error ? e : new Error(String(e)));
      input.dispose();
    };
    const listeners = [
      ...listen(answer, fail),
      input.onDidHide(() => {
        answer(undefined);
        for (const listener of listeners) listener.dispose();
      }),
    ];
    input.show();
  });
}

export interface Step<S> {
  /** Whether it has something to ask; a step back goes over those that have not. */
  applies?(state: S): boolean;
  ask(state: S, place: { readonly step: number; readonly totalSteps: number }): Promise<Answer<S>>;
}

/** Goes through the steps, also back; undefined when the user left. */
export async function walk<S>(steps: readonly Step<S>[], initial: S): Promise<S | undefined> {
  const states = [initial];
  const asked: number[] = [];
  for (let at = 0; at < steps.length;) {
    const step = steps[at] as Step<S>;
    const state = states.at(-1) as S;
    if (step.applies?.(state) === false) {
      at += 1;
      continue;
    }
    const answer = await step.ask(state, { step: asked.length + 1, totalSteps: steps.filter((s) => s.applies?.(state) !== false).length });
    if (answer === undefined) return undefined;
    if (answer === 'back') {
      at = asked.pop() ?? 0;
      if (states.length > 1) states.pop();
    } else {
      asked.push(at);
      states.push(answer.value);
      at += 1;
    }
  }
  return states.at(-1);
}
