"""Technologies: broker, enrolment, disk, probes, runtimes."""
