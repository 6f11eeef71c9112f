#include "writ/runner/undo_stack.h"

#include <gtest/gtest.h>

namespace writ::runner {
namespace {

// L37
TEST(UndoStack, TriesEveryUndoNewestFirstAndCollectsTheFailures) {
  std::string order;
  UndoStack stack;
  stack.Push("a", [&]() -> Status {
    order += 'a';
    return {};
  });
  stack.Push("b", [&]() -> Status {
    order += 'b';
    return Error{.code = "b.failed", .message = "b"};
  });
  stack.Push("c", [&]() -> Status {
    order += 'c';
    return Error{.code = "c.failed", .message = "c"};
  });
  std::vector<UndoStack::Failure> failures = stack.Unwind();
  EXPECT_EQ(order, "cba");
  ASSERT_EQ(failures.size(), 2u);
  EXPECT_EQ(failures[0].what, "c");
  EXPECT_EQ(failures[1].error.code, "b.failed");
  EXPECT_TRUE(stack.Unwind().empty());
}

// L37: what was given back early, or never acquired, is not released again.
TEST(UndoStack, RunsEachUndoAtMostOnce) {
  int runs = 0;
  {
    UndoStack stack;
    UndoStack::Token first = stack.Push("first", [&]() -> Status {
      ++runs;
      return {};
    });
    UndoStack::Token second = stack.Push("second", [&]() -> Status {
      runs += 100;
      return {};
    });
    EXPECT_TRUE(stack.Run(first));
    EXPECT_TRUE(stack.Run(first));
    stack.Disarm(second);
  }
  EXPECT_EQ(runs, 1);
}

TEST(UndoStack, UnwindsWhenItGoesAway) {
  int runs = 0;
  {
    UndoStack stack;
    stack.Push("it", [&]() -> Status {
      ++runs;
      return {};
    });
  }
  EXPECT_EQ(runs, 1);
}

}  // namespace
}  // namespace writ::runner
