// table.txt as values: hostile programs x tiers, and what each cell promises. Its comment says what
// the words mean; a word that is not known, a cell that is missing, a row twice: all are errors.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "writ/base/result.h"

namespace writ::test {

enum class GuardOff { kThrough, kNamespace, kCapability, kStandIn, kKernel };

struct Expected {
  enum class Kind {
    kRefused,
    kRecorded,
    kKilled,
    kOwn,
    kGone,
    kPossible,
    kLimited,
    kUnmeasured,
    kUntried,
    kLacking,
    kLost
  };
  Kind kind = Kind::kRefused;
  std::string word;  // as in the table: "refused", "limit.memory"
};

struct TableCell {
  Expected with_root;
  Expected with_user;
  std::string text;
};

struct TableRow {
  std::string section;
  std::string name;    // as in the table, with "@supervisor"
  std::string attack;  // what the program calls it
  bool at_supervisor = false;
  GuardOff guard_off = GuardOff::kThrough;
  int capability = -1;           // by number, for kCapability
  std::vector<TableCell> cells;  // in the order of Table::tiers
  int landlock_abi = 0;          // of the process tier
  bool root_runner = false;
  bool cgroup = false;
  bool lacking = false;
  bool slow = false;
  std::vector<std::string> without;  // sets of calls
  // Those of them without which it gets through: the set's last guard against it is what is gone.
  std::vector<std::string> possible_without;
  std::string note;
};

// What a tier does where a set of system calls is not there.
struct Without {
  enum class Kind { kHolds, kRefuses, kSays };
  struct Cell {
    Kind kind = Kind::kHolds;
    std::string aspect;  // kSays
  };
  std::string set;
  std::vector<Cell> cells;  // in the order of Table::tiers, up to the machines
  std::string note;
};

struct Table {
  std::vector<std::string> tiers;
  std::vector<TableRow> rows;
  std::vector<Without> without;
  const Without* FindSet(const std::string& name) const;  // nullptr: none
};

// Measured by hostile_machine_test: what is said of other tiers' probes and kernels is not of
// these.
bool IsOfMachines(const std::string& tier);
bool IsOfGluttons(const TableRow& row);

Result<Table> ParseTable(const std::string& text);

// table.txt of this build's sources; what is wrong with it fails HostileTable.IsReadWhole.
const Result<Table>& TheTable();

// For docs/threat-model.md: a table per section, rows with equal cells in one line.
std::string TableAsMarkdown(const Table& table);

}  // namespace writ::test
