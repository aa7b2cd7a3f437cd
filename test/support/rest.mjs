/**
 * Loaded into every process that `test/run.mjs` starts. While a promise of Dawn's Node binding is pending it asks for what is ready in every
 * turn of the event loop, and takes a core from the driver that computes: here it rests a millisecond between two questions.
 */
const immediate = globalThis.setImmediate

globalThis.setImmediate = Object.assign(
  (task, ...args) =>
    /\[native code\]/.test(Function.prototype.toString.call(task))
      ? setTimeout(task, 1, ...args)
      : immediate(task, ...args),
  immediate,
)
