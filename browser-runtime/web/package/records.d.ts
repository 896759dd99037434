/** Something that a job left with this browser. */
export interface Kept {
  /** Name of the job. */
  readonly job: string;
  readonly name: string;
  /** The room it takes, of 16 MiB in all and 4 MiB for each job. */
  readonly bytes: number;
}

/** Of `ask`, where the coordinator refused: `type` is as in docs/http-api.md, such as `/problems/record-untrusted`. */
export interface Refusal extends Error {
  readonly type?: string;
}

/** Records that jobs leave with this browser alone, for services that keep nothing about their users. */
export class Records {
  /**
   * Rejected where the browser keeps nothing for this page, or the coordinator is not reached.
   * @param coordinator its URL; needed unless this script comes from it.
   */
  static open(coordinator?: string): Promise<Records>;

  /**
   * What a job says to an input. The next record is kept first; an answer that was lost is fetched first. One request at a time, over all tabs.
   * @param send takes the body, in JSON, to a service of yours, which passes it on to `/v1/jobs/JOB/clients/CLIENT` with its token.
   * @param name tells records apart where this browser has several of one job, as where several people use it; `record` if nothing is said.
   */
  ask(job: string, input: unknown, send: (body: string) => Promise<Response>, name?: string): Promise<unknown>;

  /** All that is kept, as visitors see it under "What is stored here". */
  list(): Promise<Kept[]>;

  /** Deletes one. Its client can begin anew once the service has deleted it too. */
  delete(job: string, name?: string): Promise<void>;
}
