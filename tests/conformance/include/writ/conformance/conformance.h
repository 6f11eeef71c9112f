// The conformance suite as a library: what a job sees, how it ends and that nothing is left, asked
// of any backend. Installed, so that a backend outside this tree is held to the same as ours.
//
//   int main(int argc, char** argv) {
//     return writ::conformance::Run(argc, argv, {.programs = "...", .backends = {...}});
//   }
//
// The program must be linked with the whole archive -
// $<LINK_LIBRARY:WHOLE_ARCHIVE,writ::conformance> in CMake - or it has no tests, which Run calls a
// failure. It is also the runner that a test kills: it starts itself again with --one-job, so make
// the same backends whatever the arguments are. Run it as root and as an ordinary user; what a host
// cannot do is skipped with the reason.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "writ/backends/backend.h"

namespace writ::conformance {

// What jobs see of the host.
enum class View {
  kHost,  // its files and paths, under the uid of the plan
  kOwn,   // a root directory of their own: /workspace, /tmp, /home/job, uid and gid 1000
};
enum class Workspaces {
  kPlain,
  kOverlaysToo,  // where Capabilities::overlay_workspace says so; else those tests are skipped
};

// How long a start takes here: what boots first needs more than processes do.
struct StartTimes {
  std::chrono::milliseconds start{0};         // added to bounds that a start falls within
  std::chrono::milliseconds first_word{400};  // of a job that has started, and no longer
};

struct TestedBackend {
  std::string name;  // [a-z0-9_]+: the tests are Backends/Conformance.*/NAME
  std::function<std::unique_ptr<backends::Backend>()> make;  // called once for each test
  View view = View::kOwn;
  Workspaces workspaces = Workspaces::kOverlaysToo;
  // Variables "NAME=value" that `make` needs in a process that has none (--one-job). May be empty.
  std::function<std::vector<std::string>()> environment = {};
  StartTimes times = {};
};

struct Setup {
  std::string programs;  // the folder with writ-mock-agent: libexec/writ of an installation
  std::vector<TestedBackend> backends;
};

// googletest's arguments; its exit code, or 2 where there is nothing to test.
int Run(int argc, char** argv, Setup setup);

// The one of that name; aborts where there is none.
const TestedBackend& FindTested(const std::string& name);
// The names of all, or of those with overlays; in the order of Setup.
std::vector<std::string> TestedNames();
std::vector<std::string> OverlayNames();

}  // namespace writ::conformance
