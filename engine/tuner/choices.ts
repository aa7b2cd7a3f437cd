/** What was measured to be fastest, per adapter and problem; as JSON it travels. */

/** What one measurement found. */
export interface Choice {
  /** The fastest variant that was right. */
  readonly winner: string
  /** Microseconds of every variant that was right: the fastest of its measurements. */
  readonly times: Readonly<Record<string, number>>
  /** Why the others were not. */
  readonly rejected: Readonly<Record<string, string>>
}

/** Choices by problem (`matmul m≈181 …`), by adapter. */
type Table = Map<string, Map<string, Choice>>

const format = 'diptych-tuning'
/** Changes when choices of an earlier program must not be used any more. */
const version = 1

export class TuningFormatError extends Error {
  override name = 'TuningFormatError'
}

export class Choices {
  private readonly table: Table = new Map()

  get(adapter: string, problem: string): Choice | undefined {
    return this.table.get(adapter)?.get(problem)
  }

  set(adapter: string, problem: string, choice: Choice): void {
    const known = this.table.get(adapter)
    if (known) known.set(problem, choice)
    else this.table.set(adapter, new Map([[problem, choice]]))
  }

  delete(adapter: string, problem: string): void {
    this.table.get(adapter)?.delete(problem)
  }

  clear(adapter: string): void {
    this.table.delete(adapter)
  }

  count(adapter: string): number {
    return this.table.get(adapter)?.size ?? 0
  }

  toJSON(): object {
    const adapters = Object.fromEntries([...this.table].map(([name, of]) => [name, Object.fromEntries(of)]))
    return { format, version, adapters }
  }

  /**
   * Takes over the choices of a JSON text that `JSON.stringify(choices)` made; those that are here already stay where `keep` is
   * set. Choices of another version are none. Returns how many it took.
   * @throws TuningFormatError, with nothing taken, when the text is not such JSON
   */
  merge(text: string, keep = false): number {
    let taken = 0
    for (const [adapter, of] of parse(text))
      for (const [problem, choice] of of) {
        if (keep && this.get(adapter, problem)) continue
        this.set(adapter, problem, choice)
        taken++
      }
    return taken
  }
}

const isRecord = (x: unknown): x is Record<string, unknown> => typeof x === 'object' && x !== null && !Array.isArray(x)

function parse(text: string): Table {
  let data: unknown
  try {
    data = JSON.parse(text)
  } catch (cause) {
    throw new TuningFormatError(`not JSON (${(cause as Error).message})`, { cause })
  }
  if (!isRecord(data) || data.format !== format) throw new TuningFormatError(`not a file of format '${format}'`)
  if (data.version !== version) return new Map()
  if (!isRecord(data.adapters)) throw new TuningFormatError("'adapters' is missing")
  const table: Table = new Map()
  for (const [adapter, of] of Object.entries(data.adapters)) {
    if (!isRecord(of)) throw new TuningFormatError(`'${adapter}' holds no choices`)
    table.set(adapter, new Map(Object.entries(of).map(([problem, choice]) => [problem, checked(problem, choice)])))
  }
  return table
}

function checked(problem: string, choice: unknown): Choice {
  const fits =
    isRecord(choice) &&
    typeof choice.winner === 'string' &&
    isRecord(choice.times) &&
    Object.values(choice.times).every((t) => typeof t === 'number') &&
    isRecord(choice.rejected) &&
    Object.values(choice.rejected).every((r) => typeof r === 'string')
  if (!fits) throw new TuningFormatError(`'${problem}' needs winner, times and rejected`)
  const { winner, times, rejected } = choice as unknown as Choice
  return { winner, times, rejected }
}
