/** Tuning results in a browser: one record in IndexedDB. */
import type { TuningStore } from './store.ts'

const [table, key] = ['tuning', 'choices']

/** Undefined where the browser has no IndexedDB, or keeps it from this page. */
export function indexedStore(name = 'diptych'): TuningStore | undefined {
  if (typeof indexedDB === 'undefined') return undefined
  const settled = <T>(request: IDBRequest<T>): Promise<T> =>
    new Promise((resolve, reject) => {
      request.onsuccess = () => resolve(request.result)
      request.onerror = () => reject(request.error ?? new Error('IndexedDB refused'))
    })
  const within = async <T>(mode: IDBTransactionMode, use: (store: IDBObjectStore) => IDBRequest<T>): Promise<T> => {
    const opening = indexedDB.open(name, 1)
    opening.onupgradeneeded = () => opening.result.createObjectStore(table)
    const database = await settled(opening)
    try {
      return await settled(use(database.transaction(table, mode).objectStore(table)))
    } finally {
      database.close()
    }
  }
  return {
    where: `IndexedDB '${name}'`,
    load: () => within<string | undefined>('readonly', (store) => store.get(key)),
    async save(text) {
      await within('readwrite', (store) => store.put(text, key))
    },
  }
}
