#include "writ/base/fault.h"

#ifdef WRIT_FAULTS
#include <unistd.h>

#include <atomic>
#include <charconv>
#include <csignal>
#include <cstdlib>
#include <string>

#include "writ/base/file.h"

namespace writ::fault {
namespace {

enum class Deed { kNone, kKill, kStall, kFail };

struct Order {
  std::size_t point = std::size(kPoints);
  Deed deed = Deed::kNone;
  int nth = 1;
};

// Aborts on an order that means nothing: a test that thinks it kills must kill.
Order ReadOrder() {
  Order order;
  const char* text = std::getenv("WRIT_FAULT");
  if (text == nullptr || *text == '\0') return order;
  std::string_view rest(text);
  std::string_view name = rest.substr(0, rest.find(':'));
  for (std::size_t i = 0; i < std::size(kPoints); ++i)
    if (kPoints[i] == name) order.point = i;
  if (order.point == std::size(kPoints) || name.size() == rest.size()) std::abort();
  rest.remove_prefix(name.size() + 1);
  std::string_view deed = rest.substr(0, rest.find(':'));
  order.deed = deed == "kill"    ? Deed::kKill
               : deed == "stall" ? Deed::kStall
               : deed == "fail"  ? Deed::kFail
                                 : Deed::kNone;
  if (order.deed == Deed::kNone) std::abort();
  if (deed.size() < rest.size()) {
    std::string_view nth = rest.substr(deed.size() + 1);
    if (std::from_chars(nth.data(), nth.data() + nth.size(), order.nth).ptr !=
            nth.data() + nth.size() ||
        order.nth < 1)
      std::abort();
  }
  return order;
}

Order& TheOrder() {
  static Order order = ReadOrder();
  return order;
}

}  // namespace

void ReadOrderAgain() {
  TheOrder() = ReadOrder();
}

Status Reach(std::size_t point) {
  const Order& order = TheOrder();
  static std::atomic<int> arrivals{0};
  if (point != order.point || ++arrivals != order.nth) return {};
  // So that a test knows that it was reached; nobody else builds this.
  (void)WriteAll(2, "fault point " + std::string(kPoints[point]) + " is reached\n");
  switch (order.deed) {
    case Deed::kKill:
      ::kill(::getpid(), SIGKILL);
      for (;;) ::pause();
    case Deed::kStall:
      for (;;) ::pause();
    case Deed::kFail:
      return Error{.kind = ErrorKind::kUnavailable,
                   .code = "fault.injected",
                   .message = "this step was told to fail (" + std::string(kPoints[point]) + ")"};
    case Deed::kNone:
      break;
  }
  return {};
}

}  // namespace writ::fault
#endif
