#include "writ/protocol/json.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <numeric>

#include "scanner.h"
#include "utf8.h"

namespace writ::json {
namespace {

constexpr std::size_t kIndexFrom = 16;  // objects with more members keep a sorted index

std::string WellFormed(std::string text) {
  return IsWellFormedUtf8(text) ? std::move(text) : ToWellFormedUtf8(text);
}

}  // namespace

bool IsWellFormedUtf8(std::string_view bytes) {
  for (std::size_t i = 0; i < bytes.size();) {
    if (static_cast<unsigned char>(bytes[i]) < 0x80) {
      ++i;
      continue;
    }
    const std::size_t length = SequenceLength(bytes, i);
    if (length == 0) return false;
    i += length;
  }
  return true;
}

std::string ToWellFormedUtf8(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size());
  for (std::size_t i = 0; i < bytes.size();) {
    const std::size_t length = SequenceLength(bytes, i);
    if (length == 0) {
      out.append("\xEF\xBF\xBD");
      ++i;
    } else {
      out.append(bytes.substr(i, length));
      i += length;
    }
  }
  return out;
}

std::string PointerTo(std::string_view parent, std::string_view name) {
  std::string out(parent);
  out.push_back('/');
  for (const char c : name) {
    if (c == '~') {
      out.append("~0");
    } else if (c == '/') {
      out.append("~1");
    } else {
      out.push_back(c);
    }
  }
  return out;
}

std::string PointerTo(std::string_view parent, std::size_t index) {
  return std::string(parent) + "/" + std::to_string(index);
}

Object::Object(std::initializer_list<std::pair<std::string_view, Value>> members) {
  members_.reserve(members.size());
  for (const auto& [name, value] : members) Set(name, value);
}

std::optional<std::size_t> Object::Position(std::string_view name) const {
  if (by_name_.empty()) {
    for (std::size_t i = 0; i < members_.size(); ++i)
      if (members_[i].name == name) return i;
    return std::nullopt;
  }
  const auto it =
      std::lower_bound(by_name_.begin(), by_name_.end(), name,
                       [&](std::uint32_t i, std::string_view n) { return members_[i].name < n; });
  if (it == by_name_.end() || members_[*it].name != name) return std::nullopt;
  return *it;
}

void Object::Reindex() {
  by_name_.clear();
  if (members_.size() <= kIndexFrom) return;
  by_name_.resize(members_.size());
  std::iota(by_name_.begin(), by_name_.end(), 0u);
  std::sort(by_name_.begin(), by_name_.end(), [&](std::uint32_t a, std::uint32_t b) {
    const int order = members_[a].name.compare(members_[b].name);
    return order != 0 ? order < 0 : a < b;
  });
}

const Value* Object::Find(std::string_view name) const {
  const auto at = Position(name);
  return at ? &members_[*at].value : nullptr;
}

Value* Object::Find(std::string_view name) {
  const auto at = Position(name);
  return at ? &members_[*at].value : nullptr;
}

Object& Object::Set(std::string_view name, Value value) {
  std::string own = WellFormed(std::string(name));
  if (const auto at = Position(own)) {
    members_[*at].value = std::move(value);
    return *this;
  }
  members_.push_back({std::move(own), std::move(value)});
  if (by_name_.empty()) {
    Reindex();
  } else {
    const auto position = static_cast<std::uint32_t>(members_.size() - 1);
    const auto it =
        std::lower_bound(by_name_.begin(), by_name_.end(), std::string_view(members_.back().name),
                         [&](std::uint32_t i, std::string_view n) { return members_[i].name < n; });
    by_name_.insert(it, position);
  }
  return *this;
}

bool Object::Erase(std::string_view name) {
  const auto at = Position(name);
  if (!at) return false;
  members_.erase(members_.begin() + static_cast<std::ptrdiff_t>(*at));
  Reindex();
  return true;
}

std::optional<std::size_t> Object::Adopt(std::vector<Member> members) {
  members_ = std::move(members);
  Reindex();
  std::optional<std::size_t> second;
  if (by_name_.empty()) {
    for (std::size_t i = 1; i < members_.size() && !second; ++i)
      for (std::size_t j = 0; j < i && !second; ++j)
        if (members_[i].name == members_[j].name) second = i;
  } else {
    for (std::size_t i = 1; i < by_name_.size(); ++i)
      if (members_[by_name_[i]].name == members_[by_name_[i - 1]].name)
        second = std::min<std::size_t>(second.value_or(by_name_[i]), by_name_[i]);
  }
  if (second) {
    members_.clear();
    by_name_.clear();
  }
  return second;
}

bool Object::operator==(const Object& other) const {
  if (size() != other.size()) return false;
  return std::all_of(members_.begin(), members_.end(), [&](const Member& member) {
    const Value* value = other.Find(member.name);
    return value != nullptr && *value == member.value;
  });
}

Value::Value(std::string text) : data_(WellFormed(std::move(text))) {}

Value Value::FromUtf8(std::string text) {
  Value value;
  value.data_ = std::move(text);
  return value;
}

Value Value::Texts(const std::vector<std::string>& texts) {
  Array items;
  items.reserve(texts.size());
  for (const std::string& text : texts) items.emplace_back(text);
  return items;
}

double Value::CheckFinite(double number) {
  if (!std::isfinite(number)) std::abort();
  return number;
}

namespace {
template <typename T>
T& Must(T* value) {
  if (value == nullptr) std::abort();
  return *value;
}
}  // namespace

const std::string& Value::string() const {
  return Must(if_string());
}
const Array& Value::array() const {
  return Must(if_array());
}
const Object& Value::object() const {
  return Must(if_object());
}
Array& Value::array() {
  return Must(if_array());
}
Object& Value::object() {
  return Must(if_object());
}

std::optional<std::int64_t> Value::AsInteger() const {
  const double* number = if_number();
  if (number == nullptr || std::trunc(*number) != *number ||
      std::fabs(*number) > static_cast<double>(kMaxSafeInteger))
    return std::nullopt;
  return static_cast<std::int64_t>(*number);
}

const Value* Value::Find(std::string_view name) const {
  const Object* members = if_object();
  return members != nullptr ? members->Find(name) : nullptr;
}

std::optional<std::string_view> Value::FindString(std::string_view name) const {
  const Value* value = Find(name);
  const std::string* text = value != nullptr ? value->if_string() : nullptr;
  if (text == nullptr) return std::nullopt;
  return *text;
}

Result<Value> Parse(std::string_view text, const ParseOptions& options) {
  Scanner scanner(text, options);
  Tape tape;
  tape.reserve(std::min<std::size_t>(text.size() / 16 + 8, 1u << 16));
  if (!scanner.Scan(tape)) return scanner.error();
  return ValueAt(text, tape, 0);
}

}  // namespace writ::json
