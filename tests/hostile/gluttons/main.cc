// glutton NAME: takes more of one thing than the job may (glutton.h).
#include <unistd.h>

#include "glutton.h"

namespace writ::hostile {

int AwaitTheEnd() {
  for (int second = 0; second < 60; ++second) ::sleep(1);
  return 0;
}

}  // namespace writ::hostile

int main(int argc, char** argv) {
  using namespace writ::hostile;
  if (argc != 2 || ::getuid() == 0) return 3;
  for (const auto* list : {&ProcessGluttons(), &DiskGluttons(), &OtherGluttons()}) {
    for (const Glutton& glutton : *list) {
      if (glutton.name == argv[1]) return glutton.run();
    }
  }
  return 3;
}
