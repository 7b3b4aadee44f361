"""The wording that requests to real APIs are built from: verbs, openers, contexts, ways to name a parameter.

Every table is a pair: what all splits may use, and what only dev and test services use, so that a model is
never judged on sentences that were built like those it was trained on.

Marks: ``{O}`` the object ("the bucket {Bucket}"), ``{P}`` the plural ("buckets"), ``{N}`` a new one
("a bucket called {Bucket}"), ``{c}`` a command ("delete …"), ``{w}`` a parameter's words, ``{x}`` its value.
A command that starts with ``@you`` cannot follow "I'd like to", one with ``@me`` follows nothing else,
one with ``@all`` is a whole sentence.
"""

from __future__ import annotations

from agentlora.tasks.wording import Pair

LIST: Pair = (
    (
        "list all {P}", "list our {P}", "@you show me the {P}", "@you show me all {P}",
        "@all which {P} do we have{m}?",
        "@all what {P} are there{m}?", "@you give me an overview of the {P}", "@me see the {P}",
        "@me see every one of the {P}",
        "@you pull up the {P}", "@you get me the {P}", "@all what are the {P}{m}?", "go through the {P}",
        "@me know which {P} exist", "@you tell me which {P} we have", "look up the {P}",
        "see what {P} there are",
    ),
    (
        "@you run me through the {P}", "enumerate the {P}", "@you hand me a rundown of the {P}",
        "@me get a picture of our {P}",
        "@all do we have any {P}{m}?", "@you dig up all the {P}", "@all the {P}{m}, what are they?",
        "check which {P} are on file",
        "take stock of the {P}", "@you read me the {P}",
    ),
)  # fmt: skip
GET: Pair = (
    (
        "@you show me {O}", "@you show me the details of {O}", "look up {O}", "pull up {O}", "@me see {O}",
        "@all what are the details of {O}{m}?", "@you give me the details of {O}",
        "@all what do we know about {O}{m}?",
        "check {O}", "have a look at {O}", "@you get me {O}", "@me know more about {O}", "find {O}",
        "open {O}",
        "@you tell me about {O}", "@all how does {O} look{m}?", "@me read the details of {O}",
    ),
    (
        "@all what's the story with {O}{m}?", "@you fetch whatever we hold on {O}", "inspect {O}",
        "review {O}",
        "@all anything I should know about {O}{m}?", "take a closer look at {O}", "bring up {O}",
        "@you fill me in on {O}",
        "view {O}", "@all where do things stand with {O}{m}?",
    ),
)  # fmt: skip
CREATE: Pair = (
    (
        "create {N}", "set up {N}", "add {N}", "make {N}", "@you make me {N}", "@all I need {N}{m}",
        "@all we need {N}{m}",
        "get {N} set up", "have {N} created", "prepare {N}", "@you create {N} for us",
        "@all we could use {N}{m}",
        "@you set up {N} for me", "@me have {N}",
    ),
    (
        "put together {N}", "@all could we get {N}{m}?", "@you get me {N}", "build {N}", "establish {N}",
        "configure {N}",
        "@all {N} is what we need{m}", "@you give me {N}", "have {N} in place", "@all there should be {N}{m}",
    ),
)  # fmt: skip
DELETE: Pair = (
    (
        "delete {O}", "remove {O}", "get rid of {O}", "@all {O} can go{m}", "delete {O} for good", "drop {O}",
        "clear out {O}",
        "have {O} deleted", "@all we no longer need {O}{m}, please delete it", "throw away {O}",
        "permanently delete {O}",
    ),
    ("wipe {O}", "scrap {O}", "erase {O}", "take {O} away", "dispose of {O}", "see {O} gone",
    "@all {O} has to disappear{m}",
     "purge {O}"),
)  # fmt: skip
UPDATE: Pair = (
    (
        "update {O}", "change {O}", "modify {O}", "edit {O}", "adjust {O}", "make a change to {O}",
        "have {O} updated",
        "@all {O} needs an update{m}", "@all {O} needs to be changed{m}", "correct {O}",
    ),
    ("amend {O}", "tweak {O}", "revise {O}", "rework {O}", "bring {O} up to date",
    "@all {O} needs some changes{m}", "alter {O}"),
)  # fmt: skip
PUT: Pair = (
    ("set {O}", "save {O}", "put {O} in place", "store {O}", "write {O}", "set up {O}", "define {O}"),
    ("apply {O}", "record {O}", "register {O}", "lay down {O}", "fix {O} as follows"),
)
# verb of the API → commands with {O}; one that is in no table is not used
VERBS: dict[str, Pair] = {
    "start": (("start {O}", "kick off {O}", "begin {O}", "launch {O}", "get {O} started",
        "@all it's time to start {O}{m}"),
              ("fire up {O}", "get {O} going", "set {O} in motion", "@all {O} should start now{m}")),
    "stop": (("stop {O}", "halt {O}", "shut down {O}", "@all {O} should stop{m}", "have {O} stopped"),
             ("bring {O} to a stop", "pull the plug on {O}", "put an end to {O}")),
    "terminate": (("terminate {O}", "end {O}", "shut {O} down for good"), ("kill {O}", "put an end to {O}")),
    "cancel": (("cancel {O}", "call off {O}", "abort {O}", "have {O} cancelled",
        "@all {O} must not go ahead{m}, cancel it"),
               ("back out of {O}", "withdraw {O}", "@all forget about {O}{m}, call it off")),
    "abort": (("abort {O}", "break off {O}", "cancel {O}"), ("ditch {O}", "bail out of {O}")),
    "enable": (("enable {O}", "turn on {O}", "switch on {O}", "activate {O}", "@all {O} should be on{m}"),
               ("flip {O} on", "bring {O} into use", "get {O} enabled")),
    "disable": (("disable {O}", "turn off {O}", "switch off {O}", "deactivate {O}",
        "@all {O} should be off{m}"),
                ("flip {O} off", "take {O} out of use", "get {O} disabled")),
    "activate": (("activate {O}", "turn on {O}", "make {O} active"), ("bring {O} to life", "set {O} live")),
    "deactivate": (("deactivate {O}", "turn off {O}", "make {O} inactive"), ("put {O} to rest",
        "retire {O}")),
    "associate": (("associate {O}", "link {O}", "connect {O}", "attach {O}"), ("tie in {O}", "hook up {O}",
        "bind {O}")),
    "disassociate": (("disassociate {O}", "unlink {O}", "disconnect {O}", "detach {O}"), ("unhook {O}",
        "cut {O} loose")),
    "attach": (("attach {O}", "connect {O}", "hook up {O}"), ("plug in {O}", "fasten {O}")),
    "detach": (("detach {O}", "disconnect {O}", "take off {O}"), ("unplug {O}", "unhook {O}")),
    "assign": (("assign {O}", "give out {O}", "allot {O}"), ("hand out {O}", "set aside {O}")),
    "unassign": (("unassign {O}", "take back {O}"), ("withdraw {O}", "free up {O}")),
    "register": (("register {O}", "sign up {O}", "enter {O}", "have {O} registered"), ("enroll {O}",
        "put {O} on the books")),
    "deregister": (("deregister {O}", "unregister {O}", "take {O} off the register"), ("sign off {O}",
        "strike {O} off the list")),
    "enroll": (("enroll {O}", "sign up {O}"), ("enter {O}", "register {O}")),
    "unenroll": (("unenroll {O}", "take {O} out of the programme"), ("sign {O} off", "withdraw {O}")),
    "send": (("send {O}", "send out {O}", "@you send {O} for me", "have {O} sent"), ("dispatch {O}",
        "fire off {O}", "get {O} out")),
    "resend": (("resend {O}", "send {O} again"), ("send out {O} once more", "repeat {O}")),
    "publish": (("publish {O}", "make {O} public", "put out {O}"), ("go live with {O}", "release {O}")),
    "restore": (("restore {O}", "bring back {O}", "recover {O}"), ("get {O} back", "roll {O} back in")),
    "undelete": (("undelete {O}", "bring back {O}", "restore {O}"), ("get {O} back from the bin",
        "revive {O}")),
    "recover": (("recover {O}", "bring back {O}"), ("rescue {O}", "get {O} back")),
    "copy": (("copy {O}", "make a copy of {O}", "duplicate {O}"), ("replicate {O}",
        "get a second copy of {O}")),
    "clone": (("clone {O}", "duplicate {O}", "make a copy of {O}"), ("replicate {O}", "take a copy of {O}")),
    "move": (("move {O}", "transfer {O}", "shift {O}"), ("relocate {O}", "bring {O} over")),
    "transfer": (("transfer {O}", "move {O} over", "hand over {O}"), ("shift {O}", "pass {O} on")),
    "import": (("import {O}", "bring in {O}", "load {O}"), ("pull in {O}", "take in {O}")),
    "export": (("export {O}", "download {O}", "get {O} out as an export"), ("dump {O}", "write out {O}")),
    "reset": (("reset {O}", "set {O} back to the defaults", "clear {O}"), ("put {O} back to how it was",
        "start {O} over")),
    "reboot": (("reboot {O}", "restart {O}", "@all {O} hangs{m}, please reboot it"), ("power-cycle {O}",
        "give {O} a reboot")),
    "restart": (("restart {O}", "start {O} again", "bounce {O}"), ("give {O} a restart", "cycle {O}")),
    "accept": (("accept {O}", "say yes to {O}", "agree to {O}", "take {O}"), ("give the nod to {O}",
        "go along with {O}")),
    "reject": (("reject {O}", "turn down {O}", "refuse {O}", "say no to {O}"), ("knock back {O}",
        "send {O} away")),
    "decline": (("decline {O}", "turn down {O}", "say no to {O}"), ("pass on {O}", "refuse {O}")),
    "approve": (("approve {O}", "sign off on {O}", "give the go-ahead for {O}"), ("green-light {O}",
        "OK {O}")),
    "dismiss": (("dismiss {O}", "clear {O}", "ignore {O} from now on"), ("wave {O} away", "close out {O}")),
    "generate": (("generate {O}", "produce {O}", "@you make me {O}", "create {O}"), ("@you draw up {O}",
        "come up with {O}")),
    "verify": (("verify {O}", "check {O}", "confirm that {O} is right"), ("double-check {O}",
        "make sure of {O}")),
    "validate": (("validate {O}", "check {O} for errors", "check {O}"), ("double-check {O}", "vet {O}")),
    "test": (("test {O}", "try out {O}", "run a test of {O}"), ("give {O} a try", "put {O} to the test")),
    "confirm": (("confirm {O}", "say that {O} is fine"), ("settle {O}", "firm up {O}")),
    "subscribe": (("subscribe {O}", "sign up {O}"), ("put {O} on the list", "enter {O}")),
    "pause": (("pause {O}", "put {O} on hold", "suspend {O}"), ("freeze {O}", "give {O} a break")),
    "suspend": (("suspend {O}", "put {O} on hold", "block {O} for now"), ("freeze {O}", "bench {O}")),
    "resume": (("resume {O}", "continue {O}", "take {O} off hold"), ("pick {O} up again", "unfreeze {O}")),
    "revoke": (("revoke {O}", "take back {O}", "withdraw {O}"), ("pull {O}", "call in {O}")),
    "grant": (("grant {O}", "give {O}", "allow {O}"), ("hand out {O}", "extend {O}")),
    "authorize": (("authorize {O}", "allow {O}", "permit {O}"), ("clear {O}", "give leave for {O}")),
    "rotate": (("rotate {O}", "renew {O}", "swap out {O}"), ("cycle {O}", "refresh {O}")),
    "renew": (("renew {O}", "extend {O}", "prolong {O}"), ("keep {O} going", "roll {O} over")),
    "release": (("release {O}", "let go of {O}", "free {O}"), ("give up {O}", "hand back {O}")),
    "allocate": (("allocate {O}", "reserve {O}", "set aside {O}"), ("earmark {O}", "secure {O}")),
    "request": (("request {O}", "ask for {O}", "apply for {O}"), ("put in for {O}", "order {O}")),
    "submit": (("submit {O}", "hand in {O}", "send in {O}"), ("file {O}", "turn in {O}")),
    "run": (("run {O}", "execute {O}", "start {O}"), ("give {O} a run", "kick off {O}")),
    "execute": (("execute {O}", "run {O}", "carry out {O}"), ("go through with {O}", "perform {O}")),
    "invoke": (("invoke {O}", "call {O}", "run {O}"), ("trigger {O}", "fire {O}")),
    "deploy": (("deploy {O}", "roll out {O}", "ship {O}"), ("take {O} live", "push out {O}")),
    "undeploy": (("undeploy {O}", "take {O} offline"), ("pull {O} from service", "roll {O} in")),
    "rollback": (("roll back {O}", "undo {O}", "go back on {O}"), ("wind back {O}", "reverse {O}")),
    "upgrade": (("upgrade {O}", "move {O} to a newer version", "bump {O}"), ("modernise {O}",
        "take {O} up a version")),
    "merge": (("merge {O}", "combine {O}", "join {O}"), ("fold {O} together", "unite {O}")),
    "share": (("share {O}", "give others access to {O}"), ("open {O} up", "pass {O} around")),
    "invite": (("invite {O}", "send an invitation to {O}"), ("ask {O} to join", "bring in {O}")),
    "rename": (("rename {O}", "give {O} a new name"), ("relabel {O}", "call {O} something else")),
    "resize": (("resize {O}", "change the size of {O}", "scale {O}"), ("make {O} fit", "rescale {O}")),
    "archive": (("archive {O}", "move {O} to the archive", "file away {O}"), ("shelve {O}",
        "put {O} in storage")),
    "lock": (("lock {O}", "freeze {O} against changes"), ("seal {O}", "bolt {O}")),
    "unlock": (("unlock {O}", "open up {O} again"), ("unseal {O}", "free {O}")),
    "promote": (("promote {O}", "make {O} the primary one"), ("move {O} up", "elevate {O}")),
    "complete": (("complete {O}", "finish {O}", "mark {O} as done"), ("wrap up {O}", "close out {O}")),
    "close": (("close {O}", "shut {O}", "mark {O} as closed"), ("wind up {O}", "wrap up {O}")),
    "resolve": (("resolve {O}", "settle {O}", "mark {O} as resolved"), ("sort out {O}", "put {O} to bed")),
    "acknowledge": (("acknowledge {O}", "confirm that we have seen {O}"), ("take note of {O}",
        "tick off {O}")),
    "purchase": (("purchase {O}", "buy {O}", "order {O}"), ("get hold of {O}", "pay for {O}")),
    "count": (("count {O}", "@all how many {P} are there{m}?", "@you tell me the number of {P}"),
        ("tally {O}", "@you work out how many {P} we have")),
    "detect": (("detect {O}", "find {O}", "look for {O}"), ("spot {O}", "pick out {O}")),
    "translate": (("translate {O}", "@you put {O} into another language"), ("render {O}",
        "@you turn {O} into another language")),
    "upload": (("upload {O}", "put up {O}", "hand over {O}"), ("push up {O}", "send up {O}")),
    "download": (("download {O}", "fetch {O}", "get {O} as a download"), ("pull down {O}", "grab {O}")),
    "sync": (("sync {O}", "synchronise {O}", "bring {O} in line"), ("align {O}", "match up {O}")),
    "refresh": (("refresh {O}", "reload {O}", "update {O}"), ("freshen {O}", "load {O} anew")),
    "replace": (("replace {O}", "swap out {O}", "exchange {O}"), ("switch {O} for a new one",
        "put something else in place of {O}")),
    "provision": (("provision {O}", "set up {O}", "get {O} ready"), ("stand up {O}", "furnish {O}")),
    "unsubscribe": (("unsubscribe {O}", "take {O} off the list"), ("opt {O} out",
        "drop {O} from the mailing")),
    "retry": (("retry {O}", "try {O} again"), ("give {O} another go", "repeat {O}")),
    "analyze": (("analyze {O}", "examine {O}", "take {O} apart"), ("study {O}", "look into {O}")),
    "preview": (("preview {O}", "@you show me a preview of {O}"), ("try {O} on for size",
        "@you give me a glimpse of {O}")),
    "disconnect": (("disconnect {O}", "cut the connection of {O}"), ("unhook {O}", "take {O} off the line")),
    "apply": (("apply {O}", "put {O} into effect"), ("bring {O} to bear", "enact {O}")),
}  # fmt: skip
KINDS: dict[str, str] = {
    "list": "list", "search": "list", "find": "list", "query": "list",
    "get": "get", "describe": "get", "retrieve": "get", "fetch": "get", "lookup": "get", "read": "get",
    "view": "get",
    "create": "create", "insert": "create", "add": "create",
    "delete": "delete", "remove": "delete",
    "update": "update", "patch": "update", "modify": "update", "put": "put", "set": "put",
}  # fmt: skip
TABLES: dict[str, Pair] = {
    "list": LIST, "get": GET, "create": CREATE, "delete": DELETE, "update": UPDATE, "put": PUT,
}  # fmt: skip


def commands(kind: str, verb: str) -> Pair:
    """How a deed is asked for: by its kind, its verb, or with the verb itself where no table knows it."""
    unknown: Pair = (
        (f"{verb} {{O}}", f"@you {verb} {{O}} for me"),
        (f"@you {verb} {{O}} for us", f"just {verb} {{O}}"),
    )
    return TABLES.get(kind) or VERBS.get(verb) or unknown


FRAMES_YOU: Pair = (
    (
        "{c}", "{c}", "{c}", "please {c}", "{c}, please", "can you {c}?", "could you {c}?",
        "could you please {c}?",
        "hi, please {c}", "hey, can you {c}?", "{ctx}{c}", "{ctx}please {c}", "{ctx}can you {c}?",
        "{ctx}{c}, please",
        "quickly {c}",
    ),
    (
        "would you {c}?", "any chance you could {c}?", "go ahead and {c}", "I was hoping you could {c}",
        "kindly {c}",
        "one more thing: {c}", "{ctx}would you {c}?", "{ctx}go ahead and {c}", "when you get a minute, {c}",
        "next, {c}",
        "do me a favour and {c}", "I'd be grateful if you could {c}",
    ),
)  # fmt: skip
FRAMES_ME: Pair = (
    ("I'd like to {c}", "I want to {c}", "I need to {c}", "we need to {c}", "we want to {c}",
    "{ctx}I need to {c}",
     "{ctx}I'd like to {c}", "we have to {c}"),
    ("I'm trying to {c}", "we've decided to {c}", "help me {c}", "{ctx}it's time to {c}", "my task is to {c}",
     "{ctx}we ought to {c}", "I'm supposed to {c}"),
)  # fmt: skip
FRAMES_ALL: Pair = (("{c}", "{c}", "hi, {c}", "{ctx}{c}"), ("{c}", "okay, {c}", "right, {c}", "{ctx}{c}"))

# A context ends in a mark that says how the request goes on: ". " a new sentence, anything else the same one.
CONTEXTS: dict[str, Pair] = {
    "any": (
        ("We are getting ready for the audit, so ", "Quick one: ", "My manager is asking for this. ",
        "For tomorrow's meeting, ",
         "Before I go home, ", "As agreed with the team, ", "The new colleague starts on Monday. ",
         "I'm working through my list. ", "We are changing suppliers, so ", "Sorry to bother you again. ",
         "I can't log in from my phone, so ", "While you're at it, "),
        ("Operations just called. ", "The ticket has been open for a week now. ",
        "As discussed on the phone, ",
         "Our contractor needs this today, so ", "I only have a minute. ",
         "Since the release went out last night, ",
         "Nobody here knows how to do it. ", "Following up on my earlier note, "),
    ),
    "get": (
        ("Something looks off since this morning. ", "I'm writing the monthly summary, so ",
        "A customer is on the line: ",
         "I want to compare a few things. ", "Finance has questions. ", "I lost track of our setup. "),
        ("I'm debugging an outage. ", "The auditors are sitting next to me. ",
        "I just inherited this project, so ",
         "There is a discrepancy in the figures. "),
    ),
    "create": (
        ("The new project starts next week. ", "We're growing, so ", "We're building a demo for a customer. ",
         "The old one is too small for us. ", "For the new office, "),
        ("A second team joins us soon. ", "We won the contract, so ", "Our trial went well. ",
        "The pilot begins shortly. "),
    ),
    "delete": (
        ("We're cleaning up. ", "We're saving costs, so ", "The project is over. ", "It was only a test. ",
         "Nobody has used it for months, so ", "That was a mistake. "),
        ("It is cluttering everything up. ", "The trial has ended, so ", "This one is a leftover. ",
        "Legal wants it gone. "),
    ),
    "update": (
        ("The requirements have changed. ", "We made a mistake when we set it up. ",
        "The customer changed their mind, so ",
         "The current settings don't work for us. "),
        ("It was entered wrongly. ", "Things have moved on since spring. ",
        "There was a typo in the order, so "),
    ),
}  # fmt: skip

# How a parameter joins the request, by kind of value. All follow the command, before any full stop.
JOINS: dict[str, Pair] = {
    "generic": (
        ("with {w} {x}", "with the {w} {x}", "using {x} as the {w}", "with {w} set to {x}", ", {w} {x}",
        "and use {x} for the {w}",
         "with {x} as the {w}", "where the {w} is {x}"),
        ("taking {x} as the {w}", "on the basis of {w} {x}", "its {w} being {x}", "and let the {w} be {x}",
        "({w}: {x})"),
    ),
    "change": (
        ("so that the {w} is {x}", "and set the {w} to {x}", "with {x} as the new {w}", "to {w} {x}",
        "with the {w} {x}",
         "and change the {w} to {x}"),
        ("so its {w} reads {x}", "and give it the {w} {x}", "making the {w} {x}"),
    ),
    "text": (
        ('with the {w} "{x}"', 'and put "{x}" as the {w}', 'with "{x}" as the {w}',
        'and for the {w} write "{x}"'),
        ('and let the {w} read "{x}"', 'its {w} being "{x}"', 'noting "{x}" as the {w}'),
    ),
    "query": (("matching \"{x}\"", "for \"{x}\"", "with the {w} \"{x}\""), ("that have to do with \"{x}\"",
        "along the lines of \"{x}\"")),
    "region": (("in {x}", "in the {w} {x}", "in {x}"), ("located in {x}", "over in {x}", "on our {x} side")),
    "limit": ((", at most {x} of them", ", but no more than {x}", ", limited to {x}", ", just the first {x}",
        ", {x} at a time"),
              (", capped at {x}", ", but stop after {x}", ", {x} will do")),
    "start": (("from {x}", "starting {x}", "with {w} {x}"), ("from {x} onwards", "beginning {x}")),
    "end": (("until {x}", "up to {x}", "with {w} {x}"), ("no later than {x}", "through {x}")),
    "date": (("with {w} {x}", "with {x} as the {w}", "where the {w} is {x}"), ("its {w} being {x}",
        "dated {x} for the {w}")),
    "bool": (("{x}",), ("{x}",)),
    "number": (("with {w} {x}", "with a {w} of {x}", "with {w} set to {x}", "and {x} as the {w}"),
               ("putting the {w} at {x}", "and let the {w} be {x}")),
    "in": (("in the {s} {x}", "in {s} {x}", "inside {x}", "within the {s} {x}"), ("belonging to the {s} {x}",
        "under the {s} {x}")),
    "for": (("for the {s} {x}", "for {s} {x}", "for {x}"), ("concerning the {s} {x}",
        "on behalf of the {s} {x}")),
    "list": (("with {w} {x}", "with the {w} {x}", "using the {w} {x}", "where the {w} are {x}"),
             ("taking {x} as the {w}", "(the {w} are {x})")),
    "struct": (("with {w}: {x}", "with a {w} of {x}", "where the {w} has {x}"), ("(for the {w}: {x})",
        "giving the {w} {x}")),
}  # fmt: skip
# A parameter in a sentence of its own, after the request.
SENTENCES: Pair = (
    ("The {w} {is} {x}.", "The {w} should be {x}.", "Use {x} as the {w}.", "{W}: {x}.",
    "Take {x} for the {w}.",
     "For the {w}, use {x}.", "Set the {w} to {x}.", "{x} would do as the {w}."),
    ("As for the {w}, I'd go with {x}.", "Let the {w} be {x}.", "We settled on {x} for the {w}.",
     "About the {w}: {x} is right.", "{W} has to be {x}."),
)  # fmt: skip
# A parameter that is told before the request.
LEADS: Pair = (
    ("The {w} {is} {x}. ", "My {w} {is} {x}. ", "For {w} {x}: ", "{W} {x}: "),
    ("We're dealing with {w} {x}. ", "Note that the {w} {is} {x}. ", "Regarding {w} {x}: "),
)
TERSE: Pair = (("{w} {x}", "{w}: {x}", "{w} {x}"), ("{w} = {x}", "{w}={x}"))
QUESTIONS: dict[str, tuple[str, ...]] = {
    "object": ("Which {o} do you mean?", "Which {o} should I use?",
    "Which {o} is it? Please tell me its {w}."),
    "name": ("What should the {o} be called?", "What name should the {o} have?"),
    "text": ("What should the {w} say?", "What would you like the {w} to be?"),
    "date": ("Which {w} should I use?", "What is the {w}?"),
    "in": ("Which {s} is it in?", "Which {s} should I use?"),
    "for": ("Which {s} is it for?", "Which {s} should I use?"),
    "enum": ("Which {w} would you like?", "What should the {w} be?"),
    "generic": ("What is the {w}?", "Which {w} should I use?", "What should the {w} be?"),
}  # fmt: skip
UNNAMED: Pair = (
    ("one of the {P}", "that {o}", "a certain {o}"),
    ("one of our {P}", "that particular {o}", "the {o} from before"),
)
