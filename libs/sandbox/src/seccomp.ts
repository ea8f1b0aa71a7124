// The system call filter of every sandbox: everything is allowed but what reaches the kernel's privileged or little
// tested parts, in the spirit of Docker's default profile. It is compiled once by libseccomp, which knows the numbers of
// every architecture; calls of a foreign architecture (x32, i386) kill the process.
//
// Namespaces, mounts and capabilities are already closed by bubblewrap; this is the second wall.
import { closeSync, readFileSync } from "node:fs";
import koffi from "koffi";
import { SandboxUnavailable } from "./driver.ts";
import { createMemoryFile } from "./native.ts";

const EPERM = 1;
const EAFNOSUPPORT = 97;
const ENOSYS = 38;
const ACT_ALLOW = 0x7fff_0000;
const ACT_ERRNO = 0x0005_0000;
const ACT_KILL_PROCESS = 0x8000_0000;
const ATTRIBUTE_BAD_ARCH = 2;
const COMPARE_GE = 5;
const COMPARE_EQ = 4;
const COMPARE_MASKED_EQ = 7;

const denied = [
  ...["mount", "umount", "umount2", "pivot_root", "chroot", "unshare", "setns", "mount_setattr", "move_mount"],
  ...["open_tree", "open_tree_attr", "fsopen", "fsconfig", "fsmount", "fspick", "statmount", "listmount"],
  ...["bpf", "perf_event_open", "ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "kcmp"],
  ...["pidfd_getfd", "keyctl", "add_key", "request_key", "kexec_load", "kexec_file_load", "init_module"],
  ...["finit_module", "delete_module", "create_module", "query_module", "get_kernel_syms", "open_by_handle_at"],
  ...["name_to_handle_at", "userfaultfd", "io_uring_setup", "io_uring_enter", "io_uring_register", "quotactl"],
  ...["quotactl_fd", "swapon", "swapoff", "reboot", "settimeofday", "clock_settime", "clock_adjtime", "adjtimex"],
  ...["stime", "syslog", "acct", "iopl", "ioperm", "modify_ldt", "vm86", "vm86old", "lookup_dcookie", "nfsservctl"],
  ...["uselib", "ustat", "sysfs", "_sysctl", "vhangup", "fanotify_init", "mbind", "set_mempolicy", "move_pages"],
  ...["migrate_pages", "get_mempolicy", "set_mempolicy_home_node", "sethostname", "setdomainname"],
];

/** Newer calls than an older libseccomp knows by name; since 5.1 a call has the same number everywhere. */
const commonNumbers: Readonly<Record<string, number>> = {
  ...{ io_uring_setup: 425, io_uring_enter: 426, io_uring_register: 427, open_tree: 428, move_mount: 429, fsopen: 430 },
  ...{ fsconfig: 431, fsmount: 432, fspick: 433, pidfd_getfd: 438, process_madvise: 440, mount_setattr: 442 },
  ...{ quotactl_fd: 443, set_mempolicy_home_node: 450, statmount: 457, listmount: 458, open_tree_attr: 467 },
};

/** CLONE_NEWTIME, NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET. */
const namespaceFlags = [
  ...[0x0000_0080, 0x0002_0000, 0x0200_0000, 0x0400_0000],
  ...[0x0800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000],
];
/** TIOCSTI and TIOCLINUX put input into a terminal. */
const terminalInjections = [0x5412, 0x541c];
/** Families besides AF_UNIX (1), AF_INET (2) and AF_INET6 (10); without a network the latter two reach only the sandbox. */
const deniedFamilies = [3, 4, 5, 6, 7, 8, 9];
const firstDeniedFamilyAfterInet6 = 11;

interface Comparison {
  arg: number;
  op: number;
  a: number;
  b: number;
}

/** Compiles the filter, as bwrap reads it; throws SandboxUnavailable where libseccomp is missing. */
export function compileSeccomp(): Buffer {
  const { context, library } = startFilter();
  try {
    addRules(library, context);
    const fd = createMemoryFile("aether-seccomp");
    try {
      check(library.exportBpf(context, fd), "export");
      return readFileSync(`/proc/self/fd/${fd}`);
    } finally {
      closeSync(fd);
    }
  } finally {
    library.release(context);
  }
}

type Library = ReturnType<typeof loadLibrary>;

function startFilter(): { library: Library; context: unknown } {
  let library: Library;
  try {
    library = loadLibrary();
  } catch (cause) {
    const problem = { cause: "libseccomp.so.2 is not installed.", mend: "Run: apt-get install libseccomp2" };
    throw new SandboxUnavailable([problem], { cause });
  }
  const context: unknown = library.init(ACT_ALLOW);
  if (!context) throw new Error("libseccomp made no filter");
  return { library, context };
}

function addRules(library: Library, context: unknown): void {
  const deny = (name: string, errno: number, ...comparisons: Comparison[]): void => {
    const resolved: number = library.resolve(name);
    const number = resolved === -1 ? (commonNumbers[name] ?? -1) : resolved;
    // Negative: this architecture has no such call.
    if (number >= 0) {
      const action = ACT_ERRNO | errno;
      check(library.addRule(context, action, number, comparisons.length, comparisons), name);
    }
  };
  check(library.setAttribute(context, ATTRIBUTE_BAD_ARCH, ACT_KILL_PROCESS), "architecture");
  for (const name of denied) deny(name, EPERM);
  // Its flags lie in memory, where no filter can look; glibc falls back to clone.
  deny("clone3", ENOSYS);
  for (const flag of namespaceFlags) deny("clone", EPERM, { arg: 0, op: COMPARE_MASKED_EQ, a: flag, b: flag });
  for (const request of terminalInjections) {
    deny("ioctl", EPERM, { arg: 1, op: COMPARE_MASKED_EQ, a: 0xffff_ffff, b: request });
  }
  for (const name of ["socket", "socketpair"]) {
    for (const family of deniedFamilies) deny(name, EAFNOSUPPORT, { arg: 0, op: COMPARE_EQ, a: family, b: 0 });
    deny(name, EAFNOSUPPORT, { arg: 0, op: COMPARE_GE, a: firstDeniedFamilyAfterInet6, b: 0 });
  }
}

function loadLibrary() {
  const library = koffi.load("libseccomp.so.2");
  const comparison = koffi.struct({ arg: "unsigned int", op: "int", a: "uint64_t", b: "uint64_t" });
  return {
    init: library.func("void *seccomp_init(uint32_t action)"),
    release: library.func("void seccomp_release(void *context)"),
    resolve: library.func("int seccomp_syscall_resolve_name(const char *name)"),
    setAttribute: library.func("int seccomp_attr_set(void *context, int attribute, uint32_t value)"),
    addRule: library.func("seccomp_rule_add_array", "int", [
      "void *",
      "uint32_t",
      "int",
      "unsigned int",
      koffi.pointer(comparison),
    ]),
    exportBpf: library.func("int seccomp_export_bpf(void *context, int fd)"),
  };
}

function check(result: number, what: string): void {
  if (result !== 0) throw new Error(`libseccomp refused ${what}: ${result}`);
}
