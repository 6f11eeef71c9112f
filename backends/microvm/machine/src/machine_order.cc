#include "writ/backends/microvm/machine_order.h"

#include <utility>
#include <variant>

#include "writ/backends/launch/wire.h"

namespace writ::backends::microvm {

std::string Encode(const MachineOrder& order) {
  launch::Writer out;
  out.Number(static_cast<std::uint64_t>(order.kind));
  out.Text(order.version.text());
  out.Text(order.vmm);
  out.Number(static_cast<std::uint64_t>(order.acceleration));
  for (std::uint64_t n : {order.memory_bytes, order.cpus, order.tsc_khz, order.boot_ms,
                          order.change_bytes, order.change_entries})
    out.Number(n);
  out.Number(static_cast<std::uint64_t>(order.purpose));
  out.Texts(order.warm_up);
  out.Number(static_cast<std::uint64_t>(order.start));
  out.Text(order.not_restored);
  out.Text(Encode(HostWord(order.job)));
  return out.Take();
}

Result<MachineOrder> DecodeMachineOrder(std::string_view bytes) {
  constexpr auto kLast = static_cast<std::uint64_t>(Acceleration::kKvm);
  launch::Reader in(bytes);
  MachineOrder order;
  order.kind =
      static_cast<VmmKind>(in.NumberAtMost(static_cast<std::uint64_t>(VmmKind::kCloudHypervisor)));
  auto version = ParseVmmVersion(in.Text());
  if (version) order.version = *version;
  order.vmm = in.Text();
  order.acceleration = static_cast<Acceleration>(in.NumberAtMost(kLast));
  for (std::uint64_t* n : {&order.memory_bytes, &order.cpus, &order.tsc_khz, &order.boot_ms,
                           &order.change_bytes, &order.change_entries})
    *n = in.Number();
  order.purpose = static_cast<MachinePurpose>(
      in.NumberAtMost(static_cast<std::uint64_t>(MachinePurpose::kHeld)));
  order.warm_up = in.Texts();
  order.start =
      static_cast<MachineFrom>(in.NumberAtMost(static_cast<std::uint64_t>(MachineFrom::kHeld)));
  order.not_restored = in.Text();
  auto job = DecodeHostWord(in.Text());
  if (!in.AtEnd() || !version || !job || !std::holds_alternative<JobOrder>(*job))
    return Error{ErrorKind::kInvalid, "microvm.order", "the machine's order is not one"};
  order.job = std::get<JobOrder>(std::move(*job));
  return order;
}

}  // namespace writ::backends::microvm
