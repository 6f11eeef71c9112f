#include "engine/liveness.h"

#include <utility>

namespace writ::runner {

Liveness::Beat::Beat(Beat&& other) noexcept
    : owner_(std::exchange(other.owner_, nullptr)), id_(other.id_) {}

Liveness::Beat& Liveness::Beat::operator=(Beat&& other) noexcept {
  std::swap(owner_, other.owner_);
  std::swap(id_, other.id_);
  return *this;
}

Liveness::Beat::~Beat() {
  if (owner_ == nullptr) return;
  std::lock_guard lock(owner_->mutex_);
  owner_->entries_.erase(id_);
}

void Liveness::Beat::Within(std::chrono::milliseconds next, std::string doing) {
  if (owner_ == nullptr) return;
  std::lock_guard lock(owner_->mutex_);
  Entry& entry = owner_->entries_[id_];
  entry.due = owner_->clock_.Monotonic() + next;
  entry.doing = std::move(doing);
}

void Liveness::Beat::Pause() {
  if (owner_ == nullptr) return;
  std::lock_guard lock(owner_->mutex_);
  owner_->entries_[id_].due.reset();
}

Liveness::Beat Liveness::Register(std::string name) {
  std::lock_guard lock(mutex_);
  entries_[next_].name = std::move(name);
  return Beat(this, next_++);
}

std::optional<std::string> Liveness::Stuck() const {
  std::lock_guard lock(mutex_);
  const auto now = clock_.Monotonic();
  for (const auto& [id, entry] : entries_) {
    if (!entry.due || now <= *entry.due) continue;
    auto late = std::chrono::duration_cast<std::chrono::milliseconds>(now - *entry.due);
    return entry.name + " (" + entry.doing + ") is " + std::to_string(late.count()) + " ms late";
  }
  return std::nullopt;
}

}  // namespace writ::runner
