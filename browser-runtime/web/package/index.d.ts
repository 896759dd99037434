/** How it is: `failed` says why in the event `error`; `waiting` means that another tab of this browser is helping already. */
export type VolunteerState =
  | "loading"
  | "ready"
  | "starting"
  | "waiting"
  | "connecting"
  | "running"
  | "paused"
  | "failed";

export type UnitState =
  | "computing"
  | "sent"
  | "recorded"
  | "verified"
  | "contradicted"
  | "back"
  | "late"
  | "failed"
  | "refused";

/** What was done since the page was loaded. */
export interface VolunteerStats {
  /** Units that were computed. */
  readonly executed: number;
  /** Results that the coordinator has on disk. */
  readonly recorded: number;
  /** Units whose result others came to as well. */
  readonly verified: number;
  /** Units whose result others contradicted. */
  readonly contradicted: number;
  /** Deterministic steps in the verified units. */
  readonly fuel: number;
  /** Time spent computing, in seconds; two cores count twice. */
  readonly seconds: number;
}

export interface UnitDetail {
  /** Name of the job; null for a unit that was computed before this page was loaded. */
  readonly job: string | null;
  /** Run and number of the unit. */
  readonly unit: string;
  readonly state: UnitState;
  /** 0 to 1, as far as the job says. */
  readonly progress: number;
}

export interface VerifiedDetail {
  readonly job: string | null;
  readonly unit: string;
  /** So many others came to the same. */
  readonly others: number;
  /** Deterministic steps in it; 0 where `job` is null. */
  readonly fuel: number;
}

export interface PauseDetail {
  /** Null when it goes on. */
  readonly reason: "battery" | "metered" | "hidden" | "hours" | null;
}

export interface ErrorDetail {
  readonly code:
    | "offline"
    | "unreachable"
    | "csp"
    | "wasm"
    | "integrity"
    | "blocked"
    | "version"
    | "unwanted"
    | "untrusted"
    | "crashed";
  /** In the visitor's language. */
  readonly message: string;
}

export interface VolunteerEventMap {
  /** The visitor's browser begins. */
  start: CustomEvent<null>;
  unit: CustomEvent<UnitDetail>;
  verified: CustomEvent<VerifiedDetail>;
  pause: CustomEvent<PauseDetail>;
  /** Does not bubble, as errors of elements never do. */
  error: CustomEvent<ErrorDetail>;
}

/** `<manyhands-volunteer coordinator lang compact>`. There is no method that starts it: a person's click does. */
export class ManyhandsVolunteer extends HTMLElement {
  readonly state: VolunteerState;
  readonly stats: VolunteerStats;

  /** Ends all computing within a quarter of a second and gives back what was begun. */
  stop(): void;

  addEventListener<K extends keyof VolunteerEventMap>(
    type: K,
    listener: (this: ManyhandsVolunteer, event: VolunteerEventMap[K]) => unknown,
    options?: boolean | AddEventListenerOptions,
  ): void;
  addEventListener(
    type: string,
    listener: EventListenerOrEventListenerObject,
    options?: boolean | AddEventListenerOptions,
  ): void;
  removeEventListener<K extends keyof VolunteerEventMap>(
    type: K,
    listener: (this: ManyhandsVolunteer, event: VolunteerEventMap[K]) => unknown,
    options?: boolean | EventListenerOptions,
  ): void;
  removeEventListener(
    type: string,
    listener: EventListenerOrEventListenerObject,
    options?: boolean | EventListenerOptions,
  ): void;
}

declare global {
  interface HTMLElementTagNameMap {
    "manyhands-volunteer": ManyhandsVolunteer;
  }
}
