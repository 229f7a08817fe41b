/** The pages of one list, as the server says where the next one begins: a list that has no end is none. Pure. */
import { HeraldError } from '../../errors.ts'

/** More than the largest cluster has of any kind. */
const maxItems = 1_000_000
/** A server may answer with fewer items than were asked for, or with none, and go on. */
const maxPages = 20_000

export class Pages {
  #pages = 0
  #items = 0
  #token = ''

  /** What a page of so many items says of the next: its token, empty after the last. Throws ERR_API_SERVER. */
  next(token: unknown, items: number): string {
    if (typeof token !== 'string' || token === '') return ''
    this.#pages++
    this.#items += items
    if (token === this.#token) throw endless('the server names the same next page again')
    if (this.#items > maxItems || this.#pages >= maxPages)
      throw endless(`there is a next page after ${this.#pages} pages with ${this.#items} objects`)
    this.#token = token
    return token
  }
}

function endless(why: string): HeraldError {
  return new HeraldError('ERR_API_SERVER', `a list without an end: ${why}`)
}
