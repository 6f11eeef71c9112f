// writ-mock-agent PROMPT                          the well-behaved agent (task.h)
// writ-mock-agent --misbehave MODE [PROMPT]       one wrong thing first (misbehave.h)
// Exit: 0 done, 1 the task said "fail", 2 wrong use.
#include <string>
#include <string_view>

#include "misbehave.h"
#include "task.h"

namespace {

int Help(int fd) {
  std::string text =
      "writ-mock-agent PROMPT\nwrit-mock-agent --misbehave MODE [PROMPT]\n\n"
      "Appends the task to MOCK_AGENT.md; \"network\" in it probes the proxy, \"fail\" ends with "
      "1.\n\nModes:\n";
  for (const auto& mode : writ::mock::Modes()) {
    std::string name(mode.name);
    name.resize(22, ' ');
    text += "  " + name + std::string(mode.what) + "\n";
  }
  writ::mock::Say(fd, text);
  return fd == 1 ? 0 : 2;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 2 && std::string_view(argv[1]) == "--help") return Help(1);
  if (argc >= 3 && argc <= 4 && std::string_view(argv[1]) == "--misbehave") {
    const writ::mock::Mode* mode = writ::mock::FindMode(argv[2]);
    if (mode == nullptr) return Help(2);
    mode->run();
    return argc == 4 ? writ::mock::DoTask(argv[3]) : 0;
  }
  if (argc != 2) return Help(2);
  return writ::mock::DoTask(argv[1]);
}
