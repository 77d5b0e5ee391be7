"""What an operator may decide: limits and intervals that the verbs go by."""

from __future__ import annotations

from dataclasses import dataclass

from archipelag_contracts.units import Ucredits

from archipelag_coordinator.domain.pricing import BASIS, Shares


@dataclass(frozen=True)
class Policy:
    """Durations in seconds unless the name says otherwise; amounts in micro-credits."""

    lease_s: float = 60.0
    """How long an Island may hold an attempt without a heartbeat that names it."""
    heartbeat_s: float = 10.0
    """Time from one heartbeat to the next, in a fleet of ordinary size."""
    heartbeats_per_s_max: float = 1_000.0
    """The interval grows with the fleet so that one network never beats faster than this."""
    island_silent_s: float = 35.0
    """Unheard for so long, an Island gets no new work; it keeps its leases."""
    island_lost_s: float = 120.0
    """Unheard for so long, its leases are broken."""
    stream_silence_s: float = 2.0
    """A running attempt that neither sends items nor keep-alives for so long is lost."""
    gone_grace_s: float = 0.4
    """An Island whose connection to the broker has ended may come back for so long, and four of its round trips; what
    it was streaming is then given up without waiting for silence."""
    assign_timeout_s: float = 2.0
    """How long an Island may take to say yes or no."""
    attempts_max: int = 3
    """Islands that may try one job; a refusal does not count."""
    queue_wait_interactive_s: float = 30.0
    """How long a request with a reader waits for an Island before it is a 503 with the reasons."""
    queue_wait_batch_s: float = 600.0
    """The same for a job that nobody waits for."""
    wait_target_interactive_s: float = 20.0
    """A request with a reader that is expected to wait longer for a slot is a 429 at once, which says when to come
    back: less than the wait after which it is a 503, since expectations err."""
    wait_target_batch_s: float = 480.0
    """The same for a job that nobody waits for; members of batches wait for their turn instead."""
    return_wait_s: float = 10.0
    """How long an answer in mid-stream waits for the very Island that lost it, where no other one has its Cargo."""
    reader_grace_s: float = 10.0
    """How long a reader who vanished may come back before the work is cancelled."""
    orphan_grace_s: float = 30.0
    """The same for one whose Coordinator died: the work goes on meanwhile, and costs nothing if nobody comes back."""
    answer_kept_s: float = 120.0
    """How long a finished answer stays in the relaying process for readers who come back."""
    retry_window_s: float = 600.0
    """A retry without a key of its own joins the same request if that began so recently."""
    output_items_default: int = 512
    """`max_tokens` of a chat that names none."""
    requests_per_minute: int = 100
    """Of a key that has no rate of its own."""
    caller_known_s: float = 5.0
    """How long a Coordinator goes by what it knows of a key; a change that it hears of counts at once. 0: each request
    asks the database."""
    session_requests_per_minute: int = 600
    """Of a browser that is signed in: one page asks for several things."""
    session_s: float = 30 * 24 * 3600.0
    """How long a browser stays signed in."""
    sign_in_link_s: float = 900.0
    """How long a mailed link is good."""
    sign_in_mails_per_minute: int = 5
    """To one address, and asked for from one client address."""
    sign_up_open: bool = True
    """Whoever can read mail under an address may become a user. Closed: users are added by an operator."""
    sign_up_ucredits: Ucredits = Ucredits(0)
    """What a new user is given, once."""
    pairing_code_s: float = 600.0
    """How long a pairing code is good."""
    broker_credentials_s: float = 24 * 3600.0
    """How long an Island's broker credentials are good; it renews them well before."""
    islands_need_approval: bool = False
    """An operator must approve each new Island before it gets work."""
    insurance_seed: Ucredits = Ucredits(1_000_000_000)
    """What the insurance starts with."""
    insured_day_ucredits: Ucredits = Ucredits(1_000_000)
    """What the insurance pays one owner within 24 hours in any case, if it has it; the rest is owed."""
    insured_of_earned_bp: int = 1_500
    """And beyond that, of what the owner's Islands earned out of charges in that time, in 1/10,000. Not above what fees
    and insurance take of it, or failing on purpose would pay."""
    file_bytes_max: int = 512 << 20
    """Of one file."""
    files_bytes_max: int = 4 << 30
    """Of one customer's files together."""
    file_kept_s: float = 30 * 24 * 3600.0
    """How long an uploaded file is kept."""
    result_kept_s: float = 7 * 24 * 3600.0
    """How long a file that a job made is kept."""
    upload_s: float = 6 * 3600.0
    """An upload that is not whole after so long is given up and swept away."""
    link_s: float = 3600.0
    """How long a link to a picture is good."""
    submissions_open_max: int = 20
    """Cargos of one user that wait to be decided on."""
    catalogue_life_s: float = 7 * 24 * 3600.0
    """How long Islands go by a document of the catalogue when they hear of no newer one."""
    catalogue_renew_s: float = 24 * 3600.0
    """A document so old is replaced although nothing has changed."""
    same_class_only: bool = False
    """An answer is continued only by an Island of the same determinism class, and waits for one."""
    shares: Shares = Shares()

    @property
    def insured_of_earned_bp_max(self) -> int:
        """With more, a customer and an Island who trade with each other would draw more than that costs them."""
        lost = self.shares.fees_bp + self.shares.insurance_bp
        return lost * BASIS // max(1, BASIS - lost)

    def queue_wait_s(self, interactive: bool) -> float:
        """How long a job waits for an Island."""
        return self.queue_wait_interactive_s if interactive else self.queue_wait_batch_s

    def wait_target_s(self, interactive: bool) -> float:
        """How long a job may be expected to wait for an Island and be taken."""
        return self.wait_target_interactive_s if interactive else self.wait_target_batch_s

    def lease_for_s(self, fleet_size: int) -> float:
        """A lease outlives several heartbeats, however far apart a large fleet's are."""
        return max(self.lease_s, 4 * self.heartbeat_interval_s(fleet_size))

    def heartbeat_interval_s(self, fleet_size: int) -> float:
        """Time to the next heartbeat."""
        return max(self.heartbeat_s, fleet_size / self.heartbeats_per_s_max)
