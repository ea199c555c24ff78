#include "trace_tables.h"

#include <charconv>

#include "base/check.h"
#include "base/text.h"

// The files of data/, byte for byte: see CMakeLists.txt.
extern const char ebb_azure_shapes[], ebb_azure_group_sizes[], ebb_huawei_racks[], ebb_huawei_hosts[],
    ebb_huawei_flavors[], ebb_huawei_groups[], ebb_alibaba_nodes[], ebb_alibaba_pods[];

namespace ebb::what_if {
namespace {

constexpr std::uint64_t mib = 1024 * 1024, gib = 1024 * mib;

std::uint64_t number(std::string_view text) {
  std::uint64_t value = 0;
  const auto read = std::from_chars(text.data(), text.data() + text.size(), value);
  CHECK(read.ec == std::errc{} && read.ptr == text.data() + text.size());
  return value;
}

using Row = std::vector<std::string_view>;

std::vector<Row> rows_of(const char* table) {
  std::vector<Row> rows;
  for (const auto line : split(table, '\n'))
    if (!line.empty()) rows.push_back(split(line, ','));
  rows.erase(rows.begin());  // the names of the columns
  return rows;
}

// Cores and RAM are in the trace's units, of which 100 are a vCPU and 4 a GiB. Groups, which it has none of, are Huawei's; a VM in
// three is in one.
TraceTables azure() {
  TraceTables t;
  t.workers.push_back({{104'000, 562 * gib}, {}});
  for (const auto& row : rows_of(ebb_azure_shapes))
    t.vms.push_back({static_cast<std::uint32_t>((number(row[0]) + 99) / 100), number(row[1]) * gib / 4, false,
                     static_cast<double>(number(row[2]))});
  double sizes = 0, members = 0;
  for (const auto& row : rows_of(ebb_azure_group_sizes)) {
    const auto size = static_cast<std::uint32_t>(number(row[0]));
    const auto count = static_cast<double>(number(row[1]));
    t.groups.push_back({size, {{DomainLevel::worker, 1}}, {}, count});
    sizes += count, members += count * size;
  }
  for (auto& group : t.groups) group.weight *= 0.10 / (members / sizes) / sizes;
  t.groups.push_back({3, {{DomainLevel::rack, 1}}, {}, 0.25 / 3});
  t.groups.push_back({1, {}, {}, 0.65});
  t.racks.push_back({20});
  return t;
}

// A fault domain is taken for a rack: a third of such a group in one.
TraceTables huawei() {
  TraceTables t;
  for (const auto& row : rows_of(ebb_huawei_hosts))
    t.workers.push_back(
        {{number(row[0]) * 1000, number(row[1]) * gib}, {}, static_cast<double>(number(row[2]))});
  for (const auto& row : rows_of(ebb_huawei_flavors))
    t.vms.push_back({static_cast<std::uint32_t>(number(row[0])), number(row[1]) * gib, false,
                     static_cast<double>(number(row[2]))});
  for (const auto& row : rows_of(ebb_huawei_groups)) {
    GroupKind kind{static_cast<std::uint32_t>(number(row[1])), {}, {}, static_cast<double>(number(row[2]))};
    if (row[0] == "anti-affinity") kind.apart = {{DomainLevel::worker, 1}};
    if (row[0] == "fault_domain") kind.apart = {{DomainLevel::rack, (kind.vms + 2) / 3}};
    if (row[0] == "affinity") kind.together = DomainLevel::rack;
    t.groups.push_back(std::move(kind));
  }
  for (const auto& row : rows_of(ebb_huawei_racks))
    t.racks.push_back({static_cast<std::uint32_t>(number(row[0])), static_cast<double>(number(row[1]))});
  return t;
}

// Racks and groups are not published: racks of 20, and each pod by itself. Who needs a GPU needs a worker that has one.
TraceTables alibaba() {
  TraceTables t;
  for (const auto& row : rows_of(ebb_alibaba_nodes)) {
    WorkerKind kind{{number(row[0]), number(row[1]) * mib}, {}, static_cast<double>(number(row[4]))};
    if (number(row[2]) > 0) kind.labels = {{"gpu", "yes"}, {"model", std::string(row[3])}};
    t.workers.push_back(std::move(kind));
  }
  for (const auto& row : rows_of(ebb_alibaba_pods))
    t.vms.push_back({static_cast<std::uint32_t>((number(row[0]) + 999) / 1000), number(row[1]) * mib,
                     number(row[2]) > 0, static_cast<double>(number(row[3]))});
  t.groups.push_back({1, {}, {}});
  t.racks.push_back({20});
  return t;
}

}  // namespace

Result<TraceTables> read_tables(std::string_view trace) {
  if (trace == "azure") return azure();
  if (trace == "huawei") return huawei();
  if (trace == "alibaba") return alibaba();
  return fail_field("--trace", "there is no trace '{}'; there are: azure, huawei, alibaba", trace);
}

}  // namespace ebb::what_if
