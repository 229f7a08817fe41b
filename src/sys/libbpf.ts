/**
 * The libbpf.so.1 of the distribution, loaded on first use. Structures are passed as the octets that the header files
 * lay out (all little endian hosts), so that nothing depends on how a foreign-function library maps them.
 */
import { isMainThread } from 'node:worker_threads'
import koffi, { type LibraryHandle } from 'koffi'
import { HeraldError, messageOf } from '../errors.ts'
import { errnoName, lastErrno, libc } from './libc.ts'

/** Pointers as koffi gives them: opaque, null when the call failed. */
export type Pointer = bigint | null
type Foreign<Result> = ((...args: readonly unknown[]) => Result) & { async(...args: readonly unknown[]): void }

const prototypes = {
  bpf_object__open_file: 'void *bpf_object__open_file(const char *path, const void *opts)',
  bpf_object__load: 'int bpf_object__load(void *object)',
  bpf_object__close: 'void bpf_object__close(void *object)',
  bpf_object__find_map_by_name: 'void *bpf_object__find_map_by_name(void *object, const char *name)',
  bpf_object__find_program_by_name: 'void *bpf_object__find_program_by_name(void *object, const char *name)',
  bpf_object__next_map: 'void *bpf_object__next_map(void *object, void *map)',
  bpf_object__next_program: 'void *bpf_object__next_program(void *object, void *program)',
  bpf_program__set_autoload: 'int bpf_program__set_autoload(void *program, bool isLoaded)',
  bpf_map__name: 'const char *bpf_map__name(void *map)',
  bpf_map__set_autocreate: 'int bpf_map__set_autocreate(void *map, bool isCreated)',
  bpf_map__set_pin_path: 'int bpf_map__set_pin_path(void *map, const char *path)',
  bpf_map__set_max_entries: 'int bpf_map__set_max_entries(void *map, uint32_t entries)',
  bpf_map__set_initial_value: 'int bpf_map__set_initial_value(void *map, const void *data, size_t size)',
  bpf_map__fd: 'int bpf_map__fd(void *map)',
  bpf_program__fd: 'int bpf_program__fd(void *program)',
  bpf_map_lookup_elem: 'int bpf_map_lookup_elem(int fd, const void *key, void *value)',
  bpf_map_update_elem: 'int bpf_map_update_elem(int fd, const void *key, const void *value, uint64_t flags)',
  bpf_map_delete_elem: 'int bpf_map_delete_elem(int fd, const void *key)',
  bpf_map_get_next_key: 'int bpf_map_get_next_key(int fd, const void *key, void *next)',
  bpf_map_lookup_batch:
    'int bpf_map_lookup_batch(int fd, void *in, void *out, void *keys, void *values, void *count, const void *opts)',
  bpf_map_update_batch:
    'int bpf_map_update_batch(int fd, const void *keys, const void *values, void *count, const void *opts)',
  bpf_obj_get: 'int bpf_obj_get(const char *path)',
  bpf_obj_pin: 'int bpf_obj_pin(int fd, const char *path)',
  bpf_obj_get_info_by_fd: 'int bpf_obj_get_info_by_fd(int fd, void *info, void *length)',
  bpf_link_create: 'int bpf_link_create(int program, int target, int attachType, const void *opts)',
  bpf_iter_create: 'int bpf_iter_create(int link)',
  bpf_prog_query:
    'int bpf_prog_query(int target, int attachType, uint32 flags, void *attachFlags, void *ids, void *count)',
  bpf_xdp_query_id: 'int bpf_xdp_query_id(int ifindex, int flags, void *id)',
  bpf_map_get_fd_by_id: 'int bpf_map_get_fd_by_id(uint32 id)',
  bpf_prog_get_fd_by_id: 'int bpf_prog_get_fd_by_id(uint32 id)',
  bpf_link_get_next_id: 'int bpf_link_get_next_id(uint32 start, void *next)',
  bpf_link_get_fd_by_id: 'int bpf_link_get_fd_by_id(uint32 id)',
  bpf_link_update: 'int bpf_link_update(int link, int program, const void *opts)',
  bpf_link_detach: 'int bpf_link_detach(int link)',
  bpf_prog_test_run_opts: 'int bpf_prog_test_run_opts(int program, void *opts)',
  bpf_tc_hook_create: 'int bpf_tc_hook_create(void *hook)',
  bpf_tc_hook_destroy: 'int bpf_tc_hook_destroy(void *hook)',
  bpf_tc_attach: 'int bpf_tc_attach(const void *hook, void *opts)',
  bpf_tc_detach: 'int bpf_tc_detach(const void *hook, const void *opts)',
  bpf_tc_query: 'int bpf_tc_query(const void *hook, void *opts)',
  libbpf_num_possible_cpus: 'int libbpf_num_possible_cpus()',
} as const

export type LibbpfCall = keyof typeof prototypes

const vsnprintf = libc.func('int vsnprintf(void *text, size_t size, const char *format, void *args)')
const maxLogCharacters = 64 * 1024
let logText = ''
let setPrint: (print: unknown) => void = () => {}
let print: unknown
/** Calls that run in other threads now. */
let aside = 0
let functions: ReadonlyMap<LibbpfCall, Foreign<unknown>> | undefined

/** libbpf hands its words as format and va_list, which on amd64 and arm64 both arrive as one pointer. */
function captureLog(library: LibraryHandle): void {
  const text = new Uint8Array(maxLogCharacters)
  const decoder = new TextDecoder()
  const prototype = koffi.proto('int LibbpfPrint(int level, const char *format, void *args)')
  print = koffi.register((level: number, format: string, args: unknown): number => {
    const isDebug = level > 1
    if (isDebug) return 0
    const length = Math.min(Number(vsnprintf(text, text.length, format, args)), text.length - 1)
    if (length > 0) logText = (logText + decoder.decode(text.subarray(0, length))).slice(-maxLogCharacters)
    return 0
  }, koffi.pointer(prototype))
  setPrint = library.func('void *libbpf_set_print(LibbpfPrint *print)')
  setPrint(print)
}

function load(): ReadonlyMap<LibbpfCall, Foreign<unknown>> {
  let library: LibraryHandle
  try {
    library = koffi.load('libbpf.so.1')
  } catch (error) {
    throw new HeraldError('ERR_LIBBPF_MISSING', `libbpf.so.1 cannot be loaded: ${messageOf(error)}`, { cause: error })
  }
  // The library has one print function for the whole process: that of a thread that ended would be called.
  if (isMainThread) captureLog(library)
  return new Map(
    Object.entries(prototypes).map(([name, prototype]) => [
      name as LibbpfCall,
      library.func(prototype) as Foreign<unknown>,
    ]),
  )
}

function call(name: LibbpfCall, args: readonly unknown[]): unknown {
  functions ??= load()
  return functions.get(name)?.(...args)
}

/** Calls a function that answers with an integer; negative is -errno. Throws ERR_LIBBPF_MISSING without the library. */
export function libbpfInt(name: LibbpfCall, ...args: readonly unknown[]): number {
  return Number(call(name, args))
}

/** Calls a function that answers with a pointer. */
export function libbpfPointer(name: LibbpfCall, ...args: readonly unknown[]): Pointer {
  const pointer = call(name, args)
  return typeof pointer === 'bigint' && pointer !== 0n ? pointer : null
}

/** Calls a function that answers with a text. */
export function libbpfText(name: LibbpfCall, ...args: readonly unknown[]): string {
  return String(call(name, args))
}

/**
 * As {@link libbpfInt}, in another thread. Meanwhile nobody hears what libbpf says, of this call or another: each of
 * its words, of which there are hundreds, would wait for a turn of this thread's loop.
 */
export function libbpfAside(name: LibbpfCall, ...args: readonly unknown[]): Promise<number> {
  functions ??= load()
  const call = functions.get(name)
  if (aside++ === 0) setPrint(null)
  return new Promise((resolve, reject) =>
    call?.async(...args, (error: Error | null, result: unknown) => {
      if (--aside === 0) setPrint(print)
      if (error === null) resolve(Number(result))
      else reject(error)
    }),
  )
}

/** What libbpf and the verifier said since the last call, for an error message; empties it. */
export function takeLibbpfLog(): string {
  const taken = logText.trim()
  logText = ''
  return taken
}

/** The result, or ERR_SYSCALL with the errno that a negative result carries and what libbpf said about it. */
export function checkedBpf(what: string, result: number, more: { readonly written?: number } = {}): number {
  if (result >= 0) return result
  const log = takeLibbpfLog()
  const errno = errnoName(-result)
  throw new HeraldError('ERR_SYSCALL', `${what}: ${errno}${log === '' ? '' : ` (${log})`}`, { ...more, errno })
}

/** The result of a pointer-valued call or of one that follows errno, or ERR_BPF_LOAD with libbpf's words. */
export function checkedLoad(what: string, isDone: boolean): void {
  if (isDone) return
  const errno = lastErrno()
  throw new HeraldError('ERR_BPF_LOAD', `${what}: ${errno}\n${takeLibbpfLog()}`, { errno })
}
