-- What things cost on a machine, as it was measured; the machine is named with all that this depends on.
CREATE TABLE machine_costs (
    machine TEXT PRIMARY KEY,
    costs TEXT NOT NULL
) STRICT;
