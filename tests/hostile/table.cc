#include "hostile/table.h"

#include <linux/capability.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <iterator>
#include <map>
#include <set>
#include <sstream>
#include <string_view>
#include <utility>

#include "support/places.h"

namespace writ::test {
namespace {

constexpr char kGluttons[] = "Too much of it";
constexpr char kLastSection[] = "Without newer system calls";
constexpr std::size_t kColumnsBesideCells = 4;  // attack, guard off, needs, without

Error Wrong(int line, const std::string& what) {
  return Error{ErrorKind::kInvalid, "table", "line " + std::to_string(line) + ": " + what};
}

std::vector<std::string> Words(const std::string& line) {
  std::istringstream in(line);
  return {std::istream_iterator<std::string>(in), std::istream_iterator<std::string>()};
}

std::vector<std::string> Split(const std::string& text, char at) {
  std::vector<std::string> parts;
  std::istringstream in(text);
  for (std::string part; std::getline(in, part, at);) parts.push_back(part);
  return parts;
}

std::optional<Expected> ParseExpected(const std::string& word) {
  using Kind = Expected::Kind;
  static const std::map<std::string, Kind> words = {{"refused", Kind::kRefused},
                                                    {"recorded", Kind::kRecorded},
                                                    {"killed", Kind::kKilled},
                                                    {"own", Kind::kOwn},
                                                    {"gone", Kind::kGone},
                                                    {"possible", Kind::kPossible},
                                                    {"-", Kind::kUnmeasured},
                                                    {"untried", Kind::kUntried},
                                                    {"lacking", Kind::kLacking},
                                                    {"lost", Kind::kLost},
                                                    {"limit.memory", Kind::kLimited},
                                                    {"limit.processes", Kind::kLimited},
                                                    {"limit.cpu", Kind::kLimited},
                                                    {"limit.wall", Kind::kLimited},
                                                    {"limit.disk", Kind::kLimited},
                                                    {"limit.output", Kind::kLimited}};
  auto found = words.find(word);
  if (found == words.end()) return std::nullopt;
  return Expected{found->second, word};
}

std::optional<TableCell> ParseCell(const std::string& text) {
  const auto parts = Split(text, '/');
  if (text.back() == '/' || parts.empty() || parts.size() > 2) return std::nullopt;
  auto root = ParseExpected(parts.front());
  auto user = ParseExpected(parts.back());
  if (!root || !user || root->kind == Expected::Kind::kUnmeasured) return std::nullopt;
  return TableCell{*root, *user, text};
}

bool ParseGuardOff(const std::string& word, TableRow& row) {
  static const std::map<std::string, int> capabilities = {{"dac_override", CAP_DAC_OVERRIDE},
                                                          {"dac_read_search", CAP_DAC_READ_SEARCH},
                                                          {"linux_immutable", CAP_LINUX_IMMUTABLE},
                                                          {"sys_module", CAP_SYS_MODULE},
                                                          {"sys_pacct", CAP_SYS_PACCT},
                                                          {"sys_admin", CAP_SYS_ADMIN},
                                                          {"sys_boot", CAP_SYS_BOOT},
                                                          {"sys_nice", CAP_SYS_NICE},
                                                          {"mknod", CAP_MKNOD},
                                                          {"syslog", CAP_SYSLOG},
                                                          {"bpf", CAP_BPF}};
  static const std::map<std::string, GuardOff> words = {{"through", GuardOff::kThrough},
                                                        {"namespace", GuardOff::kNamespace},
                                                        {"stand-in", GuardOff::kStandIn},
                                                        {"kernel", GuardOff::kKernel}};
  if (auto found = words.find(word); found != words.end()) {
    row.guard_off = found->second;
    return true;
  }
  auto capability =
      word.starts_with("cap:") ? capabilities.find(word.substr(4)) : capabilities.end();
  if (capability == capabilities.end()) return false;
  row.guard_off = GuardOff::kCapability;
  row.capability = capability->second;
  return true;
}

bool ParseNeed(const std::string& word, TableRow& row) {
  if (word == "root-runner") return row.root_runner = true;
  if (word == "cgroup") return row.cgroup = true;
  if (word == "lacking") return row.lacking = true;
  if (word == "slow") return row.slow = true;
  if (!word.starts_with("landlock-") || word.size() != 10 || word.back() < '1' || word.back() > '9')
    return false;
  row.landlock_abi = word.back() - '0';
  return true;
}

bool IsPossible(const TableCell& cell) {
  return cell.with_root.kind == Expected::Kind::kPossible ||
         cell.with_user.kind == Expected::Kind::kPossible;
}

// The columns of the last section, and the first ones of the others.
std::vector<std::string> BesideMachines(const std::vector<std::string>& tiers) {
  return {tiers.begin(), std::find_if(tiers.begin(), tiers.end(), IsOfMachines)};
}

bool IsUnmeasured(const TableCell& cell) {
  return cell.with_user.kind == Expected::Kind::kUnmeasured;
}

class Parser {
 public:
  Result<Table> Parse(const std::string& text) {
    std::istringstream in(text);
    for (std::string line; std::getline(in, line);) {
      ++line_;
      if (line.empty() || line.front() == '#') continue;
      WRIT_TRY(ParseLine(line));
    }
    for (const TableRow& row : table_.rows) WRIT_TRY(CheckRow(row));
    if (table_.rows.empty() || table_.without.empty()) return Wrong(line_, "it ends too early");
    return std::move(table_);
  }

 private:
  Status ParseLine(const std::string& line) {
    if (line.front() == '[') {
      if (line.back() != ']') return Wrong(line_, "a section has no end");
      section_ = line.substr(1, line.size() - 2);
      return {};
    }
    if (line.front() == ':') {
      if (note_ == nullptr || !note_->empty() || line.size() < 3)
        return Wrong(line_, "a word on no row");
      *note_ = line.substr(2);
      return {};
    }
    const auto words = Words(line);
    if (words.front() == "tiers") {
      if (!table_.tiers.empty() || words.size() < 2) return Wrong(line_, "tiers once, and some");
      table_.tiers.assign(words.begin() + 1, words.end());
      return {};
    }
    if (section_.empty() || table_.tiers.empty()) return Wrong(line_, "a row before its section");
    return section_ == kLastSection ? ParseWithout(words) : ParseRow(words);
  }

  Status ParseRow(const std::vector<std::string>& words) {
    const std::size_t tiers = table_.tiers.size();
    if (words.size() != tiers + kColumnsBesideCells)
      return Wrong(line_, "a row has " + std::to_string(tiers + kColumnsBesideCells) + " columns");
    TableRow row;
    row.section = section_;
    row.name = words[0];
    row.attack = row.name.substr(0, row.name.find('@'));
    row.at_supervisor = row.name == row.attack + "@supervisor";
    if (!row.at_supervisor && row.name != row.attack) return Wrong(line_, "whose victim?");
    if (!names_.insert(row.name).second) return Wrong(line_, row.name + " is there twice");
    if (!ParseGuardOff(words[1], row)) return Wrong(line_, "unknown: " + words[1]);
    for (std::size_t tier = 0; tier < tiers; ++tier) {
      auto cell = ParseCell(words[2 + tier]);
      if (!cell) return Wrong(line_, "unknown: " + words[2 + tier]);
      row.cells.push_back(std::move(*cell));
    }
    const std::string& needs = words[2 + tiers];
    for (const std::string& need : Split(needs == "-" ? "" : needs, ','))
      if (!ParseNeed(need, row)) return Wrong(line_, "unknown: " + need);
    const std::string& without = words[3 + tiers];
    constexpr std::string_view kPossible = ":possible";
    for (std::string set : Split(without == "-" ? "" : without, ',')) {
      if (set.ends_with(kPossible)) {
        set.resize(set.size() - kPossible.size());
        row.possible_without.push_back(set);
      }
      row.without.push_back(std::move(set));
    }
    table_.rows.push_back(std::move(row));
    note_ = &table_.rows.back().note;
    return {};
  }

  Status ParseWithout(const std::vector<std::string>& words) {
    if (words.size() != BesideMachines(table_.tiers).size() + 1)
      return Wrong(line_, "a cell is missing");
    Without without;
    without.set = words[0];
    if (table_.FindSet(without.set) != nullptr) return Wrong(line_, "a set is there twice");
    for (std::size_t at = 1; at < words.size(); ++at) {
      const std::string& word = words[at];
      Without::Cell cell;
      if (word == "refuses") {
        cell.kind = Without::Kind::kRefuses;
      } else if (word.starts_with("says:") && word.size() > 5) {
        cell = {Without::Kind::kSays, word.substr(5)};
      } else if (word != "holds") {
        return Wrong(line_, "unknown: " + word);
      }
      without.cells.push_back(std::move(cell));
    }
    table_.without.push_back(std::move(without));
    note_ = &table_.without.back().note;
    return {};
  }

  static bool IsOfMachinesAlone(Expected::Kind kind) {
    return kind == Expected::Kind::kLacking || kind == Expected::Kind::kLost;
  }
  // The comment of table.txt has the reasons for each.
  bool MayBeUntried(const TableRow& row, const std::string& tier) const {
    if (tier == "microvm") return IsOfGluttons(row) && row.slow;
    return tier == "microvm_root" && (IsOfGluttons(row) || row.at_supervisor);
  }

  Status CheckRow(const TableRow& row) const {
    for (std::size_t tier = 0; tier < row.cells.size(); ++tier)
      if (row.cells[tier].with_root.kind == Expected::Kind::kUntried &&
          !MayBeUntried(row, table_.tiers[tier]))
        return Wrong(line_,
                     row.name + " is untried in " + table_.tiers[tier] + " without a reason");
    for (std::size_t tier = 0; tier < row.cells.size(); ++tier)
      if (IsOfMachinesAlone(row.cells[tier].with_root.kind) && !IsOfMachines(table_.tiers[tier]))
        return Wrong(line_, row.cells[tier].text + " is a word of machines");
    for (const std::string& set : row.without)
      if (table_.FindSet(set) == nullptr) return Wrong(line_, row.name + ": no such set: " + set);
    if (!row.possible_without.empty() && row.note.empty())
      return Wrong(line_, row.name + " is possible without a set, and no word says why");
    for (const TableCell& cell : row.cells)
      if ((IsPossible(cell) || IsUnmeasured(cell)) && row.note.empty())
        return Wrong(line_, row.name + " is " + cell.text + " somewhere, and no word says why");
    return {};
  }

  Table table_;
  std::set<std::string> names_;
  std::string section_;
  std::string* note_ = nullptr;
  int line_ = 0;
};

std::string LineOf(const std::vector<std::string>& cells) {
  std::string line = "|";
  for (const std::string& cell : cells) line += " " + cell + " |";
  return line + "\n";
}

std::string SectionAsMarkdown(const Table& table, const std::string& section) {
  std::vector<std::string> heads = {section};
  heads.insert(heads.end(), table.tiers.begin(), table.tiers.end());
  std::string text = LineOf(heads) + "|";
  for (std::size_t i = 0; i < heads.size(); ++i) text += "---|";
  text += "\n";
  std::vector<std::pair<std::vector<std::string>, std::string>> lines;  // cells, names
  for (const TableRow& row : table.rows) {
    if (row.section != section) continue;
    std::vector<std::string> cells;
    for (const TableCell& cell : row.cells) cells.push_back(cell.text);
    auto same = std::find_if(lines.begin(), lines.end(),
                             [&cells](const auto& line) { return line.first == cells; });
    if (same == lines.end()) {
      lines.emplace_back(std::move(cells), row.name);
    } else {
      same->second += ", " + row.name;
    }
  }
  for (auto& [cells, names] : lines) {
    cells.insert(cells.begin(), names);
    text += LineOf(cells);
  }
  return text + "\n";
}

std::string ExplainedAsMarkdown(const Table& table, const std::string& head,
                                bool (*is)(const TableCell&)) {
  std::string text = head + "\n";
  for (const TableRow& row : table.rows) {
    std::string tiers;
    for (std::size_t tier = 0; tier < table.tiers.size(); ++tier)
      if (is(row.cells[tier])) tiers += (tiers.empty() ? "" : ", ") + table.tiers[tier];
    if (!tiers.empty()) text += "- " + row.name + " (" + tiers + "): " + row.note + "\n";
  }
  return text + "\n";
}

std::string WithoutAsMarkdown(const Table& table) {
  std::vector<std::string> heads = {kLastSection};
  for (const std::string& tier : BesideMachines(table.tiers)) heads.push_back(tier);
  heads.emplace_back("because");
  std::string text = LineOf(heads) + "|";
  for (std::size_t i = 0; i < heads.size(); ++i) text += "---|";
  text += "\n";
  for (const Without& without : table.without) {
    std::vector<std::string> cells = {without.set};
    for (const Without::Cell& cell : without.cells)
      cells.push_back(cell.kind == Without::Kind::kHolds     ? "holds"
                      : cell.kind == Without::Kind::kRefuses ? "refuses"
                                                             : "says: " + cell.aspect);
    std::string possible;
    for (const TableRow& row : table.rows)
      if (std::find(row.possible_without.begin(), row.possible_without.end(), without.set) !=
          row.possible_without.end())
        possible += (possible.empty() ? "; possible then: " : ", ") + row.name;
    cells.push_back(without.note + possible);
    text += LineOf(cells);
  }
  return text;
}

}  // namespace

bool IsOfMachines(const std::string& tier) {
  return tier.starts_with("microvm");
}

bool IsOfGluttons(const TableRow& row) {
  return row.section == kGluttons;
}

const Without* Table::FindSet(const std::string& name) const {
  auto found = std::find_if(without.begin(), without.end(),
                            [&name](const Without& one) { return one.set == name; });
  return found == without.end() ? nullptr : &*found;
}

Result<Table> ParseTable(const std::string& text) {
  return Parser().Parse(text);
}

const Result<Table>& TheTable() {
  static const Result<Table> table = [] {
    std::ifstream in(writ::test::SourceDir() + "/tests/hostile/table.txt");
    return ParseTable(
        std::string(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()));
  }();
  return table;
}

std::string TableAsMarkdown(const Table& table) {
  std::string text;
  std::string last;
  for (const TableRow& row : table.rows) {
    if (row.section == last) continue;
    last = row.section;
    text += SectionAsMarkdown(table, last);
  }
  return text + ExplainedAsMarkdown(table, "Known to be possible:", IsPossible) +
         ExplainedAsMarkdown(table, "Not measured with an ordinary user's runner:", IsUnmeasured) +
         WithoutAsMarkdown(table);
}

}  // namespace writ::test
