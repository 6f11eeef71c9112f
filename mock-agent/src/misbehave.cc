#include "misbehave.h"

namespace writ::mock {

const std::vector<Mode>& Modes() {
  static const std::vector<Mode> modes = {
      {"symlink-escape", "leave symbolic links that lead out of the workspace", SymlinkEscape},
      {"hard-links", "leave two names of one file, and try one of a host file", HardLinks},
      {"plant-git-config", "plant .git/config, hooks and attributes that run programs",
       PlantGitConfig},
      {"nested-repository", "leave a repository inside the workspace and replace .git by a file",
       NestedRepository},
      {"special-files", "leave a FIFO, a socket and try device nodes", SpecialFiles},
      {"huge-sparse", "leave a sparse file of 1 TiB", HugeSparse},
      {"deep-tree", "leave a tree of 300 levels", DeepTree},
      {"bad-names",
       "leave names with newlines, bad UTF-8, leading dashes, trailing blanks, case clashes",
       BadNames},
      {"closed-directory", "leave directories of mode 000 with files in them", ClosedDirectory},
      {"read-host-files", "try to read keys and other people's files of the host", ReadHostFiles},
      {"secret-in-pieces", "write the secret in pieces and encoded, to stdout and to a file",
       SecretInPieces},
      {"fork-bomb", "fork until the limit says no (refuses to start without a limit)", ForkBomb},
      {"ignore-sigterm", "ignore SIGTERM and go on for ten minutes", IgnoreSigterm},
      {"burst-exit", "write 8 MiB and end at once", BurstExit},
      {"endless-output", "write for ever", EndlessOutput},
      {"double-fork-setsid", "hide a process for ten minutes in a session of its own",
       DoubleForkSetsid},
      {"hold-stdout", "end while a grandchild keeps stdout open", HoldStdout},
      {"stop-itself", "stop itself by SIGSTOP", StopItself},
      {"crash", "end by SIGSEGV", Crash},
      {"eat-memory", "touch 16 GiB of memory, up to what it gets", EatMemory},
      {"ignore-proxy", "connect to hosts directly, by TCP, UDP and IPv6", IgnoreProxy},
  };
  return modes;
}

const Mode* FindMode(std::string_view name) {
  for (const Mode& mode : Modes()) {
    if (mode.name == name) return &mode;
  }
  return nullptr;
}

}  // namespace writ::mock
