// writ-pages [--uid=N --gid=N] [--spin-us=N] [--spinners=N] [--around=N] [--clones=N]
// [--observe-ms=N]: the page
// server of a host user, or of one VM. Started by the runner with its connection at descriptor 3
// (page_service.h); of no use to people.
#include <sys/socket.h>
#include <sys/stat.h>

#include <charconv>
#include <chrono>
#include <cstdio>
#include <optional>
#include <string_view>

#include "writ/backends/microvm/pages/page_server.h"

namespace {

namespace pages = writ::backends::microvm::pages;

constexpr int kRunner = 3;

bool Take(std::string_view argument, std::string_view prefix, std::optional<unsigned>& out) {
  if (!argument.starts_with(prefix)) return false;
  argument.remove_prefix(prefix.size());
  unsigned value = 0;
  auto [end, error] = std::from_chars(argument.data(), argument.data() + argument.size(), value);
  if (error != std::errc() || end != argument.data() + argument.size()) return false;
  out = value;
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  std::optional<unsigned> uid, gid, spin, spinners, around, clones, observe;
  bool good = true;
  for (int i = 1; i < argc; ++i)
    good = good && (Take(argv[i], "--uid=", uid) || Take(argv[i], "--gid=", gid) ||
                    Take(argv[i], "--spin-us=", spin) || Take(argv[i], "--spinners=", spinners) ||
                    Take(argv[i], "--around=", around) || Take(argv[i], "--clones=", clones) ||
                    Take(argv[i], "--observe-ms=", observe));
  struct stat st {};
  if (!good || uid.has_value() != gid.has_value() || ::fstat(kRunner, &st) != 0 ||
      !S_ISSOCK(st.st_mode)) {
    std::fputs("writ-pages is started by the runner\n", stderr);
    return 2;
  }
  pages::ServingOptions options;
  if (spin) options.spin = std::chrono::microseconds(*spin);
  if (spinners) options.spinners = *spinners;
  if (around) options.around = *around;
  if (around == 1) options.around_most = 1;  // the faulting page alone
  if (clones) options.clones = *clones;
  if (observe) options.observe = std::chrono::milliseconds(*observe);
  std::optional<pages::ServerIdentity> identity;
  if (uid) identity = pages::ServerIdentity{*uid, *gid};
  return pages::RunPageServer(kRunner, identity, options);
}
