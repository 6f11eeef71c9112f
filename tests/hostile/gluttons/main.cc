// glutton [--as UID GID] NAME: takes more of one thing than the job may (glutton.h).
// `glutton --list` names them all.
#include <grp.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "glutton.h"

namespace writ::hostile {
namespace {

bool JustPast() {
  return std::getenv("JUST_PAST") != nullptr;
}

const std::vector<Glutton>& Of(int list) {
  return list == 0 ? ProcessGluttons() : list == 1 ? DiskGluttons() : OtherGluttons();
}

}  // namespace

std::size_t Enough() {
  return (JustPast() ? 80u : 768u) << 20;
}
int EnoughProcesses() {
  return JustPast() ? 80 : 4000;
}
int EnoughFiles() {
  return JustPast() ? 3500 : 200'000;
}
int EnoughDescriptors() {
  return JustPast() ? 80 : 100'000;
}
int EnoughBurns() {
  return JustPast() ? 8 : 4000;
}

int AwaitTheEnd() {
  if (JustPast()) return 0;
  for (int second = 0; second < 60; ++second) ::sleep(1);
  return 0;
}

}  // namespace writ::hostile

int main(int argc, char** argv) {
  using namespace writ::hostile;
  if (argc == 2 && std::strcmp(argv[1], "--list") == 0) {
    for (int list = 0; list < 3; ++list) {
      for (const Glutton& glutton : Of(list))
        std::printf("%.*s\n", static_cast<int>(glutton.name.size()), glutton.name.data());
    }
    return 0;
  }
  if (argc == 5 && std::strcmp(argv[1], "--as") == 0) {
    const auto uid = static_cast<uid_t>(std::strtoul(argv[2], nullptr, 10));
    const auto gid = static_cast<gid_t>(std::strtoul(argv[3], nullptr, 10));
    if (::setgroups(0, nullptr) != 0 || ::setresgid(gid, gid, gid) != 0 ||
        ::setresuid(uid, uid, uid) != 0)
      return 3;
    argv += 3;
    argc -= 3;
  }
  if (argc != 2 || ::getuid() == 0) return 3;
  for (int list = 0; list < 3; ++list) {
    for (const Glutton& glutton : Of(list)) {
      if (glutton.name == argv[1]) return glutton.run();
    }
  }
  return 3;
}
