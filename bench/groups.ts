/** Finds the groups: every file in `groups/`, and files given by `--group`. Node only; the page gets its list from `serve.ts`. */
import { readdirSync } from 'node:fs'
import { resolve } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import type { Group } from './contract.ts'

const folder = new URL('./groups/', import.meta.url)

/** Files of the groups that belong to the project. */
export const ownGroupFiles = (): string[] =>
  readdirSync(folder)
    .filter((name) => name.endsWith('.ts'))
    .sort()
    .map((name) => fileURLToPath(new URL(name, folder)))

/** Imports group files. @throws Error naming a file that exports no group, or two groups of one name. */
export async function loadGroups(files: readonly string[]): Promise<Group[]> {
  const groups: Group[] = []
  for (const file of files) {
    const { group } = (await import(pathToFileURL(resolve(file)).href)) as { group?: Group }
    if (!group?.name || typeof group.rows !== 'function')
      throw new Error(`bench: ${file} exports no 'group' with a name and rows (see bench/README.md)`)
    if (groups.some(({ name }) => name === group.name)) throw new Error(`bench: two groups are named '${group.name}'`)
    groups.push(group)
  }
  return groups
}
