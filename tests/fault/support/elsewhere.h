// Fault points that no short run reaches, each in the list of the test that kills there. A test
// takes its points from here and fails where one is not reached, and kill_test.cc leaves out what
// is here and nothing else: a name that is added to a list is a test at once.
#pragma once

#include <algorithm>
#include <array>
#include <string_view>
#include <vector>

#include "writ/base/fault.h"

namespace writ::test {

template <std::size_t N>
using FaultPoints = std::array<std::string_view, N>;

// plane_kill_test.cc
inline constexpr FaultPoints<2> kClosingALostRun = {"plane.lost.signed", "plane.lost.committed"};
inline constexpr FaultPoints<1> kKeepingALateReceipt = {"plane.late.committed"};
inline constexpr FaultPoints<1> kRevoking = {"plane.revoked.committed"};
inline constexpr FaultPoints<1> kRotatingARunner = {"plane.rotated.committed"};
inline constexpr FaultPoints<4> kRotatingThePlanesKey = {"plane.key.next", "plane.key.manifest",
                                                         "plane.key.private", "plane.key.public"};
// late_and_rotating_test.cc
inline constexpr FaultPoints<2> kLateCall = {"call.late.before", "call.late.after"};
inline constexpr FaultPoints<2> kRotateCall = {"call.rotate.before", "call.rotate.after"};

inline std::vector<std::string_view> PointsThatStartWith(std::string_view prefix) {
  std::vector<std::string_view> out;
  for (std::string_view point : fault::kPoints)
    if (point.starts_with(prefix)) out.push_back(point);
  return out;
}
// journal_kill_test.cc, all of them; those of a short run are reached in kill_test.cc as well.
inline std::vector<std::string_view> JournalPoints() {
  return PointsThatStartWith("journal.");
}
// collection_kill_test.cc
inline std::vector<std::string_view> CollectionPoints() {
  return PointsThatStartWith("plane.gc.");
}

// What a short run has no part of.
inline std::vector<std::string_view> PointsReachedElsewhere() {
  std::vector<std::string_view> out = CollectionPoints();
  auto add = [&](const auto& list) { out.insert(out.end(), list.begin(), list.end()); };
  for (std::string_view point : JournalPoints())
    for (std::string_view note :
         {"journal.token.", "journal.park.", "journal.left.", "journal.forget_left."})
      if (point.starts_with(note)) out.push_back(point);
  add(kClosingALostRun);
  add(kKeepingALateReceipt);
  add(kRevoking);
  add(kRotatingARunner);
  add(kRotatingThePlanesKey);
  add(kLateCall);
  add(kRotateCall);
  return out;
}

}  // namespace writ::test
