// JSON as the protocol has it: a strict parser, an ordered value, a compact and an indented writer.
//
// The one JSON of this project. Input is RFC 8259 in UTF-8 and nothing else: duplicate names, lone
// surrogates, ill-formed UTF-8, a byte order mark, trailing bytes, numbers outside the range of a
// double and nesting past a depth are refused, each with a stable code, the JSON pointer of the
// place and its byte offset (protocol.md section 1, L3). Time is linear in the input but for n log
// n per large object; memory is bounded by the input's size. Invariants of a Value: every string
// and name is well-formed UTF-8 (constructors replace what is not by U+FFFD), every number is
// finite (a NaN or infinity aborts: a bug of the caller), names of an object are unique. Values are
// plain data: copy, move, share const between threads. Canonical bytes and hashes are in
// canonical.h and digest.h; typed reading is in reader.h.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "writ/base/result.h"

namespace writ::json {

class Value;
struct Member;
using Array = std::vector<Value>;

// The largest integer that a double carries exactly along with all its predecessors (2^53 - 1).
inline constexpr std::int64_t kMaxSafeInteger = 9007199254740991;

// Members in the order in which they were read or set. Finding is O(log n) in large objects.
class Object {
 public:
  // Defined below Member: clang wants it complete.
  Object();
  Object(const Object&);
  Object(Object&&) noexcept;
  Object& operator=(const Object&);
  Object& operator=(Object&&) noexcept;
  ~Object();
  // Later members of the same name replace earlier ones.
  Object(std::initializer_list<std::pair<std::string_view, Value>> members);

  bool empty() const;
  std::size_t size() const;
  std::vector<Member>::const_iterator begin() const;
  std::vector<Member>::const_iterator end() const;

  const Value* Find(std::string_view name) const;  // nullptr where there is none
  Value* Find(std::string_view name);
  bool Contains(std::string_view name) const { return Find(name) != nullptr; }
  // Replaces in place or appends. Returns *this, so that calls can be chained.
  Object& Set(std::string_view name, Value value);
  // Sets only where there is something: absent members are simply not there.
  template <typename T>
  Object& SetOptional(std::string_view name, const std::optional<T>& value);
  bool Erase(std::string_view name);  // true where there was one

  // Takes over members whose names are well-formed UTF-8. Where two have the same name: the
  // position of the second one is returned and the object stays empty.
  std::optional<std::size_t> Adopt(std::vector<Member> members);

  bool operator==(const Object& other) const;  // the same members in any order

 private:
  std::optional<std::size_t> Position(std::string_view name) const;
  void Reindex();
  std::vector<Member> members_;
  std::vector<std::uint32_t> by_name_;  // positions sorted by name; empty in small objects
};

class Value {
 public:
  Value() = default;                                    // null
  Value(std::nullptr_t) {}                              // NOLINT: implicit by design, as all below
  Value(bool b) : data_(b) {}                           // NOLINT
  Value(double number) : data_(CheckFinite(number)) {}  // NOLINT
  // An integer past 2^53 - 1 in size aborts: it would not be what was written.
  template <typename Int>
    requires(std::is_integral_v<Int> && !std::is_same_v<Int, bool> && !std::is_same_v<Int, char>)
  Value(Int number) : data_(CheckInteger(number)) {}          // NOLINT
  Value(std::string text);                                    // NOLINT
  Value(std::string_view text) : Value(std::string(text)) {}  // NOLINT
  Value(const char* text) : Value(std::string(text)) {}       // NOLINT
  Value(Array items) : data_(std::move(items)) {}             // NOLINT
  Value(Object members) : data_(std::move(members)) {}        // NOLINT
  // An array of texts.
  static Value Texts(const std::vector<std::string>& texts);
  // A string that is known to be well-formed UTF-8: not looked at again.
  static Value FromUtf8(std::string text);

  bool is_null() const { return std::holds_alternative<std::nullptr_t>(data_); }
  bool is_bool() const { return std::holds_alternative<bool>(data_); }
  bool is_number() const { return std::holds_alternative<double>(data_); }
  bool is_string() const { return std::holds_alternative<std::string>(data_); }
  bool is_array() const { return std::holds_alternative<Array>(data_); }
  bool is_object() const { return std::holds_alternative<Object>(data_); }

  // nullptr where the value is of another type.
  const bool* if_bool() const { return std::get_if<bool>(&data_); }
  const double* if_number() const { return std::get_if<double>(&data_); }
  const std::string* if_string() const { return std::get_if<std::string>(&data_); }
  const Array* if_array() const { return std::get_if<Array>(&data_); }
  const Object* if_object() const { return std::get_if<Object>(&data_); }
  Array* if_array() { return std::get_if<Array>(&data_); }
  Object* if_object() { return std::get_if<Object>(&data_); }
  // Abort where the type is another one: for values that this program built or already checked.
  const std::string& string() const;
  const Array& array() const;
  const Object& object() const;
  Array& array();
  Object& object();

  // A number that is an integer of at most 2^53 - 1 in size.
  std::optional<std::int64_t> AsInteger() const;
  // A member of an object by name; nullptr where this is no object or has none.
  const Value* Find(std::string_view name) const;
  // The text of a string member; nullopt where it is absent or not a string.
  std::optional<std::string_view> FindString(std::string_view name) const;

  bool operator==(const Value& other) const = default;

 private:
  static double CheckFinite(double number);
  template <typename Int>
  static double CheckInteger(Int number) {
    if constexpr (std::is_signed_v<Int>) {
      if (static_cast<std::int64_t>(number) < -kMaxSafeInteger) std::abort();
    }
    if (number > 0 &&
        static_cast<std::uint64_t>(number) > static_cast<std::uint64_t>(kMaxSafeInteger))
      std::abort();
    return static_cast<double>(number);
  }
  std::variant<std::nullptr_t, bool, double, std::string, Array, Object> data_;
};

struct Member {
  std::string name;
  Value value;
};

inline Object::Object() = default;
inline Object::Object(const Object&) = default;
inline Object::Object(Object&&) noexcept = default;
inline Object& Object::operator=(const Object&) = default;
inline Object& Object::operator=(Object&&) noexcept = default;
inline Object::~Object() = default;
inline bool Object::empty() const {
  return members_.empty();
}
inline std::size_t Object::size() const {
  return members_.size();
}
inline std::vector<Member>::const_iterator Object::begin() const {
  return members_.begin();
}
inline std::vector<Member>::const_iterator Object::end() const {
  return members_.end();
}

struct ParseOptions {
  std::size_t max_depth = 64;         // containers within each other; at most 512
  std::size_t max_bytes = 64u << 20;  // of input text; at most 4 GiB - 1
};

// Codes: json.syntax json.duplicate_name json.invalid_utf8 json.lone_surrogate json.trailing_bytes
// json.too_deep json.too_large json.number_range json.truncated. Kind kInvalid.
Result<Value> Parse(std::string_view text, const ParseOptions& options = {});

std::string Write(const Value& value);        // one line, members in their order
std::string WritePretty(const Value& value);  // two spaces of indentation, no final newline

// "" for the root; "/" and "~" in a name are written "~1" and "~0" (RFC 6901).
std::string PointerTo(std::string_view parent, std::string_view name);
std::string PointerTo(std::string_view parent, std::size_t index);

bool IsWellFormedUtf8(std::string_view bytes);
// Each ill-formed byte becomes U+FFFD.
std::string ToWellFormedUtf8(std::string_view bytes);

template <typename T>
Object& Object::SetOptional(std::string_view name, const std::optional<T>& value) {
  if (value) Set(name, Value(*value));
  return *this;
}

}  // namespace writ::json
