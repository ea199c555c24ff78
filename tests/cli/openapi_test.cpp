// docs/api/openapi.json against the described structs, and against what the client really sends.
#include <fstream>
#include <gtest/gtest.h>
#include <regex>
#include <sstream>

#include "base/text.h"
#include "fake_world.h"
#include "model/api_types.h"
#include "model/export_types.h"

namespace ebb {
namespace {

#define EBB_API_STRUCTS(X) \
  X(Resources)             \
  X(Worker)                \
  X(Disk)                  \
  X(Blob)                  \
  X(Image)                 \
  X(Port)                  \
  X(InstanceData)          \
  X(GuestEnd)              \
  X(EndedVm)               \
  X(VmSpec)                \
  X(Vm)                    \
  X(Hold)                  \
  X(DrainOptions)          \
  X(Drain)                 \
  X(PhaseTime)             \
  X(Migration)             \
  X(JournalEntry)          \
  X(MeasuredPhases)        \
  X(MoveLimits)            \
  X(CellView)              \
  X(Cell)                  \
  X(WantedDisk)            \
  X(WantedVm)              \
  X(WantedSet)             \
  X(VmTimings)             \
  X(SeenVm)                \
  X(AgentReport)           \
  X(ReportAnswer)          \
  X(Registration)          \
  X(ErrorBody)             \
  X(Reason)                \
  X(WorkerReturn)          \
  X(WorkerView)            \
  X(VmView)                \
  X(MigrationView)         \
  X(PlanMove)              \
  X(PlanBound)             \
  X(PlanBlocker)           \
  X(DrainPlan)             \
  X(DoneCheck)             \
  X(WorkerProgress)        \
  X(DrainView)             \
  X(Budget)                \
  X(BudgetView)            \
  X(PutBudget)             \
  X(Apart)                 \
  X(Group)                 \
  X(GroupView)             \
  X(PutGroup)              \
  X(PlanFinish)            \
  X(UndoDrain)             \
  X(WhyAnswer)             \
  X(CreateVm)              \
  X(CreateImage)           \
  X(CreateDrain)           \
  X(DiskSnapshot)          \
  X(DiskOrigin)            \
  X(DiskRestore)           \
  X(DiskGrowth)            \
  X(VmNetwork)             \
  X(JoinNetwork)           \
  X(NetworkInterface)      \
  X(CreateNetwork)         \
  X(CreateDisk)            \
  X(AttachDisk)            \
  X(GrowDisk)              \
  X(KeepDisk)              \
  X(DiskRemoval)           \
  X(EndedTurn)             \
  X(LogRescue)             \
  X(RescueLog)             \
  X(SeenRescue)            \
  X(WantedSnapshot)        \
  X(SeenSnapshot)          \
  X(CreateSnapshot)        \
  X(RestoreDisk)           \
  X(RestorePlanView)       \
  X(LossBound)             \
  X(HealthCheck)           \
  X(SeenHealth)            \
  X(GuestCommand)          \
  X(ConsolePoint)          \
  X(SessionCall)           \
  X(SessionEnd)            \
  X(SessionEvent)          \
  X(SessionOutput)         \
  X(SessionInput)          \
  X(UnsentDisk)            \
  X(OrphanLog)             \
  X(DiskLoss)              \
  X(DiskLogEntry)          \
  X(DiskLogView) X(MigrateVm) X(EditVm) X(CordonWorker) X(ReturnWorker) X(CordonWorkers) X(UncordonWorkers)
#define EBB_API_PAGES(X) \
  X(WorkerView)          \
  X(VmView)              \
  X(Disk)                \
  X(Image) X(VmNetwork) X(DrainView) X(MigrationView) X(JournalEntry) X(BudgetView) X(Hold) X(GroupView)
#define EBB_API_ENUMS(X) \
  X(DiskClass)           \
  X(DiskState)           \
  X(SnapshotState)       \
  X(RescueState)         \
  X(ImageState)          \
  X(Firmware)            \
  X(HealthKind)          \
  X(SessionKind)         \
  X(SessionEndKind)      \
  X(StopSignal)          \
  X(AtDeadline)          \
  X(DomainLevel)         \
  X(Restart) X(Storage) X(VmDesired) X(Mechanism) X(DrainState) X(Phase) X(Wanted) X(VmSeen) X(Liveness)

template <class T>
std::string schema_name();
#define EBB_NAME(T)              \
  template <>                    \
  std::string schema_name<T>() { \
    return #T;                   \
  }
#define EBB_PAGE_NAME(T)               \
  template <>                          \
  std::string schema_name<Page<T>>() { \
    return #T "Page";                  \
  }
EBB_API_STRUCTS(EBB_NAME)
EBB_API_ENUMS(EBB_NAME)
EBB_API_PAGES(EBB_PAGE_NAME)

std::string read_text_file(const std::string& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

struct OpenApiTest : testing::Test {
  json::Object document = json::parse(read_text_file(EBB_ROOT "/docs/api/openapi.json")).value().as_object();
  json::Object components = document["components"].as_object();
  json::Object schemas = components["schemas"].as_object();

  // What "#/components/KIND/NAME" refers to, or nothing.
  const json::Object* resolve(std::string_view ref) const {
    auto parts = split(ref, '/');
    if (parts.size() != 4 || parts[1] != "components") return nullptr;
    const auto* kind = components.if_contains(parts[2]);
    const auto* value = kind ? kind->as_object().if_contains(parts[3]) : nullptr;
    return value ? &value->as_object() : nullptr;
  }
};

// What a schema says of its type in a few words: "string", "[integer]", "{string}", "Worker".
std::string shape_of(const json::Value& value) {
  const auto& schema = value.as_object();
  if (auto* ref = schema.if_contains("$ref"))
    return std::string(ref->as_string()).substr(std::string("#/components/schemas/").size());
  if (auto* all_of = schema.if_contains("allOf")) return shape_of(all_of->as_array().at(0));
  std::string type(schema.at("type").as_string());
  if (type == "array") return "[" + shape_of(schema.at("items")) + "]";
  if (auto* more = schema.if_contains("additionalProperties"); more && more->is_object())
    return "{" + shape_of(*more) + "}";
  return type;
}

// The same of a C++ type.
template <class T>
std::string shape_of_type() {
  if constexpr (std::is_same_v<T, bool>) {
    return "boolean";
  } else if constexpr (std::is_integral_v<T>) {
    return "integer";
  } else if constexpr (std::is_floating_point_v<T>) {
    return "number";
  } else if constexpr (std::is_same_v<T, std::string> || json::detail::is_id<T>::value) {
    return "string";
  } else if constexpr (json::detail::is_optional<T>::value) {
    return shape_of_type<typename T::value_type>();
  } else if constexpr (json::detail::is_vector<T>::value) {
    return "[" + shape_of_type<typename T::value_type>() + "]";
  } else if constexpr (json::detail::is_map<T>::value) {
    return "{" + shape_of_type<typename T::mapped_type>() + "}";
  } else {
    return schema_name<T>();
  }
}

template <class T>
void expect_same_struct(const json::Object& schemas) {
  auto name = schema_name<T>();
  ASSERT_TRUE(schemas.contains(name)) << name;
  const auto& schema = schemas.at(name).as_object();
  std::map<std::string, std::string> described, written;
  std::set<std::string> optional;
  boost::mp11::mp_for_each<json::detail::Members<T>>([&](auto member) {
    using Field = std::remove_cvref_t<decltype(std::declval<T>().*member.pointer)>;
    described[member.name] = shape_of_type<Field>();
    if (json::detail::is_optional<Field>::value) optional.insert(member.name);
  });
  for (const auto& item : schema.at("properties").as_object())
    written[std::string(item.key())] = shape_of(item.value());
  EXPECT_EQ(written, described) << name << ": docs/api/update_schemas.py writes the schemas anew";
  if (!schema.contains("required")) return;
  for (const auto& field : schema.at("required").as_array()) {
    std::string text(field.as_string());
    EXPECT_TRUE(described.contains(text)) << name << "." << text;
    EXPECT_FALSE(optional.contains(text)) << name << "." << text << " is optional in the code";
  }
}

template <class E>
void expect_same_enum(const json::Object& schemas) {
  auto name = schema_name<E>();
  ASSERT_TRUE(schemas.contains(name)) << name;
  std::vector<std::string> described, written;
  boost::mp11::mp_for_each<boost::describe::describe_enumerators<E>>(
      [&](auto e) { described.emplace_back(e.name); });
  for (const auto& value : schemas.at(name).as_object().at("enum").as_array())
    written.emplace_back(value.as_string());
  EXPECT_EQ(written, described) << name;
}

TEST_F(OpenApiTest, EverySchemaHasTheFieldsAndNamesOfItsType){
#define EBB_EXPECT_STRUCT(T) expect_same_struct<T>(schemas);
#define EBB_EXPECT_PAGE(T) expect_same_struct<Page<T>>(schemas);
#define EBB_EXPECT_ENUM(T) expect_same_enum<T>(schemas);
    EBB_API_STRUCTS(EBB_EXPECT_STRUCT) EBB_API_PAGES(EBB_EXPECT_PAGE) EBB_API_ENUMS(EBB_EXPECT_ENUM)}

TEST_F(OpenApiTest, EveryDescribedTypeOfTheModelIsComparedAndNothingElseIsDescribed) {
  std::set<std::string> compared, announced, written;
#define EBB_INSERT(T) compared.insert(#T);
#define EBB_INSERT_PAGE(T) compared.insert(#T "Page");
  EBB_API_STRUCTS(EBB_INSERT)
  EBB_API_ENUMS(EBB_INSERT)
  EBB_API_PAGES(EBB_INSERT_PAGE)
  for (const char* header :
       {"base/firmware.h", "base/stop_signal.h", "model/drain_types.h", "model/fleet_types.h",
        "model/agent_types.h", "model/api_types.h", "model/session_types.h", "model/export_types.h"}) {
    auto text = read_text_file(std::string(EBB_ROOT "/src/") + header);
    std::regex announcement(R"(BOOST_DESCRIBE_(STRUCT|ENUM)\((Page<)?(\w+))");
    for (std::sregex_iterator at(text.begin(), text.end(), announcement), end; at != end; ++at) {
      announced.insert((*at)[3].str() + ((*at)[2].matched ? "Page" : ""));
    }
  }
  announced.erase("ExportEnd");  // a line of a file
  for (const auto& item : schemas) written.insert(std::string(item.key()));
  EXPECT_EQ(compared, announced) << "list it at the head of this file";
  EXPECT_EQ(written, announced);
}

void collect_refs(const json::Value& value, std::set<std::string>& refs) {
  if (value.is_array()) {
    for (const auto& item : value.get_array()) collect_refs(item, refs);
  } else if (value.is_object()) {
    for (const auto& item : value.get_object()) {
      if (item.key() == "$ref") refs.insert(std::string(item.value().as_string()));
      collect_refs(item.value(), refs);
    }
  }
}

TEST_F(OpenApiTest, EveryReferenceResolvesAndEveryOperationHasANameAndAnErrorReply) {
  std::set<std::string> refs, names;
  collect_refs(document, refs);
  for (const auto& ref : refs) EXPECT_NE(resolve(ref), nullptr) << ref;
  for (const auto& path : document["paths"].as_object()) {
    for (const auto& method : path.value().as_object()) {
      const auto& operation = method.value().as_object();
      auto where = fmt::format("{} {}", std::string_view(method.key()), std::string_view(path.key()));
      EXPECT_TRUE(names.insert(std::string(operation.at("operationId").as_string())).second) << where;
      EXPECT_TRUE(operation.at("responses").as_object().contains("default")) << where;
    }
  }
}

// Sends one of every request that the client can make, into a recorder.
std::vector<HttpRequest> all_requests() {
  fake::World world;
  world.http.handler = [](const HttpRequest&) { return fake::refuse(404, "not_found", "nothing here"); };
  ApiClient c(world.http, {});
  WorkerId w("w");
  VmId v("v");
  ImageId i("i");
  DrainId d("d");
  MigrationId m("m");
  auto go = [&](auto task) { (void)world.await(std::move(task)); };
  go(c.workers()), go(c.worker(w)), go(c.cordon(w, {"r", {}})), go(c.uncordon(w)), go(c.return_worker(w, {})),
      go(c.cordon_many({})), go(c.uncordon_many({})), go(c.why_worker(w));
  go(c.remove_worker(w)), go(c.vms()), go(c.vm(v)), go(c.create_vm({})), go(c.start_vm(v)), go(c.stop_vm(v));
  go(c.remove_vm(v)), go(c.migrate_vm(v, {})), go(c.edit_vm(v, {})), go(c.why_vm(v)), go(c.disks()),
      go(c.disk(DiskId("x"))), go(c.images());
  const DiskId x("x");
  go(c.why_disk(x)), go(c.create_snapshot(x, {})), go(c.remove_snapshot(x, "n")), go(c.plan_restore(x, "n"));
  go(c.restore_disk(x, "n")), go(c.disk_log(x)), go(c.remove_disk(x)), go(c.remove_disk(x, true));
  go(c.keep_disk(x, {"n"}));
  go(c.create_disk({.name = "n"})), go(c.attach_disk(x, v)), go(c.detach_disk(x)), go(c.grow_disk(x, 4096));
  const NetworkId n("n");
  go(c.networks()), go(c.network(n)), go(c.create_network({})), go(c.remove_network(n));
  go(c.image(i)), go(c.create_image({})), go(c.seal_image(i)), go(c.remove_image(i));
  for (auto part : {ImagePart::kernel, ImagePart::initrd, ImagePart::disk}) {
    go(c.upload(i, part, 0, {}));
    go(c.upload_zeroes(i, part, 0, 1));
  }
  go(c.plan_drain({})), go(c.start_drain({})), go(c.drains()), go(c.drain(d)), go(c.cancel_drain(d));
  go(c.pause_drain(d)), go(c.resume_drain(d)), go(c.holds()), go(c.budgets()), go(c.budget(BudgetId("b"))),
      go(c.put_budget({})), go(c.remove_budget(BudgetId("b")));
  go(c.migrations({v, d})), go(c.migration(m)), go(c.cancel_migration(m));
  const ConsolePoint place{w, 1, 2};
  for (auto kind : {SessionKind::logs, SessionKind::console}) {
    go(c.watch_session(world.loop, {v, kind, true, place, {}}, [](const SessionEvent&) {}));
    go(c.watch_session(world.loop, {v, kind, true, {}, 5}, [](const SessionEvent&) {}));
  }
  go(c.watch_session(world.loop, {.vm = v, .kind = SessionKind::port, .port = "http"},
                     [](const SessionEvent&) {}));
  go(c.watch_session(world.loop, {.vm = v, .kind = SessionKind::exec, .command = GuestCommand{{"/bin/ls"}}},
                     [](const SessionEvent&) {}));
  go(c.type(SessionId("s"), {1, "eA==", true}));
  go(c.events({1, true}, [](const JournalEntry&) {}));
  return world.http.seen;
}

TEST_F(OpenApiTest, EveryRequestOfTheClientIsDescribedWithItsQueryParameters) {
  for (const auto& request : all_requests()) {
    auto question = request.target.find('?');
    auto path = request.target.substr(0, question);
    auto method = request.method;
    std::transform(method.begin(), method.end(), method.begin(),
                   [](char c) { return static_cast<char>(std::tolower(c)); });
    const json::Object* operation = nullptr;
    for (const auto& item : document["paths"].as_object()) {
      auto pattern = std::regex_replace(std::string(item.key()), std::regex(R"(\{\w+\})"), "[^/:]+");
      const auto& methods = item.value().as_object();
      if (std::regex_match(path, std::regex(pattern)) && methods.contains(method))
        operation = &methods.at(method).as_object();
    }
    ASSERT_NE(operation, nullptr) << request.method << " " << request.target;
    EXPECT_EQ(operation->contains("requestBody"), request.headers.contains("content-type")) << request.target;
    if (question == std::string::npos) continue;
    std::set<std::string> known;
    for (const auto& parameter : operation->at("parameters").as_array()) {
      const auto* ref = parameter.as_object().if_contains("$ref");
      known.emplace((ref ? *resolve(ref->as_string()) : parameter.as_object()).at("name").as_string());
    }
    std::string query = request.target.substr(question + 1);
    std::regex name(R"(([a-z_]+)=)");
    for (std::sregex_iterator at(query.begin(), query.end(), name), end; at != end; ++at) {
      EXPECT_TRUE(known.contains((*at)[1].str())) << request.target;
    }
  }
}

}  // namespace
}  // namespace ebb
