// ObjectReader: strict, typed reading of a JSON object at the edge (L3).
//
// Each accessor checks presence, type and rule, and on a mismatch adds an Issue with the JSON
// pointer of the place; it then returns an empty value, so that one pass collects every issue of a
// document. Call `issues.ToStatus()` at the end: nothing read may be used before it said yes. An
// optional member that is null is refused: absent members are simply not there. Lifetime: the Value
// and the Issues outlive the reader. Not thread-safe.
#pragma once

#include <functional>
#include <limits>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "writ/base/clock.h"
#include "writ/protocol/json.h"

namespace writ::json {

struct Issue {
  std::string code;     // "object.missing", "object.type", "object.range", "object.pattern",
                        // "object.enum", "object.unknown" ...
  std::string pointer;  // where
  std::string message;  // "must be ...", without the refused value
  std::string ToString() const;  // "<pointer>: <message>"
};

class Issues {
 public:
  void Add(std::string code, std::string pointer, std::string message);
  bool empty() const { return list_.empty(); }
  const std::vector<Issue>& list() const { return list_; }  // at most 100; more are dropped
  // kInvalid with the first issue's code and all pointers in the sentence; ok where there is none.
  Status ToStatus(std::string_view what) const;

 private:
  std::vector<Issue> list_;
};

struct TextRule {
  std::size_t min_bytes = 0;
  std::size_t max_bytes = 1u << 20;
  bool (*pattern)(std::string_view) = nullptr;
  std::string_view pattern_words = "of the required form";  // "must be <pattern_words>"
};

template <typename E>
struct EnumName {
  E value;
  std::string_view name;
};

class ObjectReader {
 public:
  // `value` must be an object; where it is not, one issue is added and every member counts as
  // absent silently.
  ObjectReader(Issues& issues, const Value& value, std::string pointer = "");

  const std::string& pointer() const { return pointer_; }
  std::string PointerOf(std::string_view name) const { return PointerTo(pointer_, name); }
  bool Has(std::string_view name) const;
  // The member itself, marked as known; nullptr (and an issue for Require) where absent.
  const Value* Find(std::string_view name);
  const Value* Require(std::string_view name);

  std::string String(std::string_view name, const TextRule& rule = {});
  std::optional<std::string> OptionalString(std::string_view name, const TextRule& rule = {});
  bool Bool(std::string_view name);
  std::optional<bool> OptionalBool(std::string_view name);
  double Number(std::string_view name, double min, double max);
  std::optional<double> OptionalNumber(std::string_view name, double min, double max);
  std::int64_t Integer(std::string_view name, std::int64_t min = 0,
                       std::int64_t max = kMaxSafeInteger);
  std::optional<std::int64_t> OptionalInteger(std::string_view name, std::int64_t min = 0,
                                              std::int64_t max = kMaxSafeInteger);
  // RFC 3339 UTC with milliseconds, exactly as the protocol writes it.
  WallTime Time(std::string_view name);
  std::vector<std::string> Strings(std::string_view name, const TextRule& rule = {});
  std::optional<std::vector<std::string>> OptionalStrings(std::string_view name,
                                                          const TextRule& rule = {});
  // A member whose value must be this text (versions).
  void Literal(std::string_view name, std::string_view expected);

  // A strong type with `static Result<T> Parse(std::string_view)`.
  template <typename T>
  T As(std::string_view name) {
    const Value* value = Require(name);
    return value != nullptr ? Convert<T>(*value, PointerOf(name)).value_or(T{}) : T{};
  }
  template <typename T>
  std::optional<T> OptionalAs(std::string_view name) {
    const Value* value = Find(name);
    return value != nullptr ? Convert<T>(*value, PointerOf(name)) : std::nullopt;
  }
  template <typename T>
  std::vector<T> AllAs(std::string_view name) {
    std::vector<T> out;
    ForEach(name, [&](const Value& item, const std::string& where) {
      if (auto parsed = Convert<T>(item, where)) out.push_back(std::move(*parsed));
    });
    return out;
  }
  template <typename E, std::size_t N>
  E Enum(std::string_view name, const EnumName<E> (&table)[N]) {
    Require(name);
    return OptionalEnum(name, table).value_or(table[0].value);
  }
  template <typename E, std::size_t N>
  std::optional<E> OptionalEnum(std::string_view name, const EnumName<E> (&table)[N]) {
    const Value* value = Find(name);
    if (value == nullptr) return std::nullopt;
    if (const std::string* text = value->if_string()) {
      for (const auto& entry : table)
        if (entry.name == *text) return entry.value;
    }
    std::string words;
    for (const auto& entry : table) words.append(words.empty() ? "" : ", ").append(entry.name);
    issues_->Add("object.enum", PointerOf(name), "must be one of " + words);
    return std::nullopt;
  }

  // A member object. The required one reads as empty where it is absent (after an issue).
  ObjectReader Child(std::string_view name);
  std::optional<ObjectReader> OptionalChild(std::string_view name);
  // Elements of a required array, at most `max_items`.
  void ForEach(std::string_view name,
               const std::function<void(const Value&, const std::string& pointer)>& visit,
               std::size_t max_items = 1000000);
  void ForEachObject(std::string_view name, const std::function<void(ObjectReader&)>& visit,
                     std::size_t max_items = 1000000);
  // Members of a required object as (name, value).
  void ForEachMember(std::string_view name,
                     const std::function<void(const std::string&, const Value&,
                                              const std::string& pointer)>& visit);

  // Call last: every member that no accessor asked for is an issue ("object.unknown").
  void RefuseUnknown();
  Issues& issues() { return *issues_; }

 private:
  template <typename T>
  std::optional<T> Convert(const Value& value, const std::string& where) {
    const std::string* text = value.if_string();
    if (text == nullptr) {
      issues_->Add("object.type", where, "must be a string");
      return std::nullopt;
    }
    Result<T> parsed = T::Parse(*text);
    if (parsed) return std::move(parsed).value();
    issues_->Add(parsed.error().code, where, parsed.error().message);
    return std::nullopt;
  }
  std::optional<std::string> CheckText(const Value& value, const std::string& where,
                                       const TextRule& rule);

  Issues* issues_;
  const Object* object_ = nullptr;  // nullptr: not an object
  bool silent_ = false;             // absence was reported already, higher up
  std::string pointer_;
  std::set<std::string, std::less<>> known_;
};

}  // namespace writ::json
