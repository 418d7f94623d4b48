BEGIN TRANSACTION;
CREATE TABLE arm (
	experiment_id INTEGER NOT NULL, 
	trial_index INTEGER NOT NULL, 
	position INTEGER NOT NULL, 
	name VARCHAR(80) NOT NULL, 
	parameters TEXT NOT NULL, 
	weight FLOAT NOT NULL, 
	PRIMARY KEY (experiment_id, trial_index, position), 
	FOREIGN KEY(experiment_id) REFERENCES experiment (id)
);
INSERT INTO "arm" VALUES(1,0,0,'status_quo','{"x": 0.5, "kind": "a"}',1.0);
INSERT INTO "arm" VALUES(1,1,0,'mine','{"x": 0.25, "kind": "b"}',1.0);
INSERT INTO "arm" VALUES(1,2,0,'2_0','{"x": 0.11320534627884626, "kind": "b"}',1.0);
INSERT INTO "arm" VALUES(1,3,0,'3_0','{"x": 0.8907156931236386, "kind": "a"}',1.0);
INSERT INTO "arm" VALUES(1,4,0,'4_0','{"x": 0.5936112171038985, "kind": "b"}',1.0);
INSERT INTO "arm" VALUES(1,5,0,'5_0','{"x": 0.39968083529648946, "kind": "a"}',1.0);
INSERT INTO "arm" VALUES(1,6,0,'6_0','{"x": 0.5815850436587656, "kind": "a"}',1.0);
CREATE TABLE command (
	id INTEGER NOT NULL, 
	experiment_id INTEGER NOT NULL, 
	verb VARCHAR(16) NOT NULL, 
	trial_index INTEGER, 
	reason TEXT NOT NULL, 
	created_at FLOAT NOT NULL, 
	applied_at FLOAT, 
	PRIMARY KEY (id), 
	FOREIGN KEY(experiment_id) REFERENCES experiment (id)
);
CREATE TABLE curve (
	experiment_id INTEGER NOT NULL, 
	trial_index INTEGER NOT NULL, 
	attempt INTEGER NOT NULL, 
	arm_name VARCHAR(80) NOT NULL, 
	metric VARCHAR(128) NOT NULL, 
	step FLOAT NOT NULL, 
	mean FLOAT NOT NULL, 
	sem FLOAT, 
	PRIMARY KEY (experiment_id, trial_index, attempt, arm_name, metric, step), 
	FOREIGN KEY(experiment_id) REFERENCES experiment (id)
);
CREATE TABLE event (
	id INTEGER NOT NULL, 
	experiment_id INTEGER NOT NULL, 
	time FLOAT NOT NULL, 
	kind VARCHAR(64) NOT NULL, 
	message TEXT NOT NULL, 
	trial_index INTEGER, 
	attempt INTEGER, 
	PRIMARY KEY (id), 
	FOREIGN KEY(experiment_id) REFERENCES experiment (id)
);
INSERT INTO "event" VALUES(1,1,1.79530110435942077636e+09,'experiment_created','old: 2 arms given',NULL,NULL);
INSERT INTO "event" VALUES(2,1,1.79530110446314597125e+09,'trial_staged','',0,1);
INSERT INTO "event" VALUES(3,1,1.79530110446314597125e+09,'trial_staged','',1,1);
INSERT INTO "event" VALUES(4,1,1.79530110466178679465e+09,'trial_running','',0,1);
INSERT INTO "event" VALUES(5,1,1.79530110466178679465e+09,'trial_completed','',1,1);
INSERT INTO "event" VALUES(6,1,1.79530110471411252022e+09,'trial_completed','',0,1);
INSERT INTO "event" VALUES(7,1,1.79530110558256959917e+09,'trial_staged','',2,1);
INSERT INTO "event" VALUES(8,1,1.79530110558256959917e+09,'trial_staged','',3,1);
INSERT INTO "event" VALUES(9,1,1.7953011056128022671e+09,'trial_running','',2,1);
INSERT INTO "event" VALUES(10,1,1.7953011056128022671e+09,'trial_failed','EXIT_CODE: it ended with exit status 1',3,1);
INSERT INTO "event" VALUES(11,1,1.7953011056128022671e+09,'trial_staged','',4,1);
INSERT INTO "event" VALUES(12,1,1.79530110575729703902e+09,'trial_completed','',2,1);
INSERT INTO "event" VALUES(13,1,1.79530110575729703902e+09,'trial_running','',4,1);
INSERT INTO "event" VALUES(14,1,1.79530110579659557337e+09,'trial_completed','',4,1);
INSERT INTO "event" VALUES(15,1,1.79530110877777242662e+09,'trial_staged','',5,1);
INSERT INTO "event" VALUES(16,1,1.7953011089852273464e+09,'trial_running','',5,1);
INSERT INTO "event" VALUES(17,1,1.7953011090580768585e+09,'trial_completed','',5,1);
INSERT INTO "event" VALUES(18,1,1.79530111000439310071e+09,'trial_staged','',6,1);
INSERT INTO "event" VALUES(19,1,1.79530111009134721753e+09,'trial_completed','',6,1);
INSERT INTO "event" VALUES(20,1,1.79530111009134721753e+09,'experiment_stopping','total_trials: all 7 trials have ended',NULL,NULL);
INSERT INTO "event" VALUES(21,1,1.79530111009134721753e+09,'experiment_completed','total_trials: all 7 trials have ended',NULL,NULL);
CREATE TABLE experiment (
	id INTEGER NOT NULL, 
	name VARCHAR(64) NOT NULL, 
	token VARCHAR(16) NOT NULL, 
	definition TEXT NOT NULL, 
	trials_dir TEXT NOT NULL, 
	status VARCHAR(16) NOT NULL, 
	stop TEXT, 
	created_at FLOAT NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (name)
);
INSERT INTO "experiment" VALUES(1,'old','33f5308a','{"arms":[{"name":"mine","parameters":{"kind":"b","x":0.25}}],"description":"","failures":{"backoff":{"factor":2.0,"initial":10.0,"max":1800.0},"min_failed_trials_for_failure_rate_check":5,"retries":{"error":0,"infra":5,"oom":0,"preempted":20,"timeout":0},"tolerated_trial_failure_rate":0.5},"generation_strategy":{"nodes":[{"generator":"sobol","max_parallelism":null,"num_trials":3},{"generator":"botorch","max_parallelism":null,"num_trials":null}],"seed":3},"metrics":{},"missing_metrics":{"retry_for":60.0,"then":"fail"},"name":"old","objective":{"metric":"loss","minimize":true,"threshold":null},"objectives":[],"outcome_constraints":[{"bound":1.1,"metric":"size","op":"<=","relative":true}],"parameter_constraints":[],"parameters":[{"bounds":[0.0,1.0],"name":"x","parameter_type":"float","scaling":"linear","step_size":null,"type":"range"},{"is_ordered":false,"name":"kind","parameter_type":"str","type":"choice","values":["a","b"]}],"polling":{"interval":10.0},"runner":{"command":["sh","-c","test \"$SCHEDD_TRIAL_INDEX\" != 3 && schedd record loss=0.$(( SCHEDD_TRIAL_INDEX + 1 )) size=1.$SCHEDD_TRIAL_INDEX"],"env":{},"trials_dir":"/nowhere/old.trials","type":"local","workdir":"/"},"schema":"schedd/v1","status_quo":{"parameters":{"kind":"a","x":0.5}},"stopping_criteria":{"goal":null,"improvement":null,"timeout":null},"storage":null,"tags":{},"trials":{"batch_size":1,"max_pending_trials":2,"pending_ttl":null,"replicates":1,"total_trials":7,"ttl":null}}','/nowhere/old.trials','COMPLETED','["total_trials","all 7 trials have ended",false,true]',1.79530110435942077636e+09);
CREATE TABLE generator_run (
	experiment_id INTEGER NOT NULL, 
	"index" INTEGER NOT NULL, 
	node INTEGER NOT NULL, 
	generator VARCHAR(64) NOT NULL, 
	seed INTEGER NOT NULL, 
	cursor INTEGER NOT NULL, 
	seconds FLOAT NOT NULL, 
	created_at FLOAT NOT NULL, 
	predictions TEXT NOT NULL, 
	note TEXT NOT NULL, insights TEXT DEFAULT '[]' NOT NULL, 
	PRIMARY KEY (experiment_id, "index"), 
	FOREIGN KEY(experiment_id) REFERENCES experiment (id)
);
INSERT INTO "generator_run" VALUES(1,0,0,'sobol',872096964,2,7.69975831000920152291e-01,1.79530110558256959917e+09,'[]','','[]');
INSERT INTO "generator_run" VALUES(1,1,0,'sobol',416398004,3,1.43492999995942227542e-04,1.7953011055977556705e+09,'[]','','[]');
INSERT INTO "generator_run" VALUES(1,2,1,'botorch',3261479728,3,3.00893361899943556636e+00,1.79530110877777242662e+09,'[{"loss":{"mean":0.12322798445664508,"sem":0.06405305294837663},"size":{"mean":1.0232279844566454,"sem":0.06405305294837775}}]','','[]');
INSERT INTO "generator_run" VALUES(1,3,1,'botorch',1487501676,3,1.21464626399938424583e+00,1.79530111000439310071e+09,'[{"loss":{"mean":0.12900752163549825,"sem":0.08688325865750322},"size":{"mean":1.0290075216354868,"sem":0.08688325865749022}}]','','[]');
CREATE TABLE lease (
	experiment_id INTEGER NOT NULL, 
	epoch INTEGER NOT NULL, 
	holder TEXT NOT NULL, 
	clock TEXT NOT NULL, 
	seconds FLOAT NOT NULL, 
	PRIMARY KEY (experiment_id), 
	FOREIGN KEY(experiment_id) REFERENCES experiment (id)
);
INSERT INTO "lease" VALUES(1,1,'{"host": "vm", "pid": 22790, "since": 1795301104.3680372}','{"boot_id": "f8c3d41b-07f3-4e72-b63f-c368d6859919", "boottime": 11684.11163345, "wall": 1795301110.0927315}',5.71101856231689453125e+00);
CREATE TABLE observation (
	experiment_id INTEGER NOT NULL, 
	trial_index INTEGER NOT NULL, 
	arm_name VARCHAR(80) NOT NULL, 
	metric VARCHAR(128) NOT NULL, 
	attempt INTEGER NOT NULL, 
	mean FLOAT NOT NULL, 
	sem FLOAT, 
	PRIMARY KEY (experiment_id, trial_index, arm_name, metric), 
	FOREIGN KEY(experiment_id) REFERENCES experiment (id)
);
INSERT INTO "observation" VALUES(1,1,'mine','loss',1,0.2,NULL);
INSERT INTO "observation" VALUES(1,1,'mine','size',1,1.1,NULL);
INSERT INTO "observation" VALUES(1,0,'status_quo','loss',1,0.1,NULL);
INSERT INTO "observation" VALUES(1,0,'status_quo','size',1,1.0,NULL);
INSERT INTO "observation" VALUES(1,2,'2_0','loss',1,0.3,NULL);
INSERT INTO "observation" VALUES(1,2,'2_0','size',1,1.2,NULL);
INSERT INTO "observation" VALUES(1,4,'4_0','loss',1,0.5,NULL);
INSERT INTO "observation" VALUES(1,4,'4_0','size',1,1.4,NULL);
INSERT INTO "observation" VALUES(1,5,'5_0','loss',1,0.6,NULL);
INSERT INTO "observation" VALUES(1,5,'5_0','size',1,1.5,NULL);
INSERT INTO "observation" VALUES(1,6,'6_0','loss',1,0.7,NULL);
INSERT INTO "observation" VALUES(1,6,'6_0','size',1,1.6,NULL);
CREATE TABLE schema_info (
	version INTEGER NOT NULL
);
INSERT INTO "schema_info" VALUES(2);
CREATE TABLE trial (
	experiment_id INTEGER NOT NULL, 
	"index" INTEGER NOT NULL, 
	status VARCHAR(16) NOT NULL, 
	generator_run INTEGER, 
	node INTEGER, 
	attempt INTEGER NOT NULL, 
	job_id TEXT, 
	job_state VARCHAR(16), 
	exit_code INTEGER, 
	reason VARCHAR(64), 
	message TEXT NOT NULL, 
	not_before FLOAT NOT NULL, 
	wish TEXT, 
	retries TEXT NOT NULL, 
	created_at FLOAT NOT NULL, 
	staged_at FLOAT, 
	started_at FLOAT, 
	ended_at FLOAT, 
	completed_at FLOAT, 
	PRIMARY KEY (experiment_id, "index"), 
	FOREIGN KEY(experiment_id) REFERENCES experiment (id)
);
INSERT INTO "trial" VALUES(1,0,'COMPLETED',NULL,NULL,1,'vm:22792','SUCCEEDED',0,NULL,'',0.0,NULL,'{}',1.79530110435942077636e+09,1.79530110446314597125e+09,1.79530110449199795724e+09,1795301104.70475,1.79530110471411252022e+09);
INSERT INTO "trial" VALUES(1,1,'COMPLETED',NULL,NULL,1,'vm:22794','SUCCEEDED',0,NULL,'',0.0,NULL,'{}',1.79530110435942077636e+09,1.79530110446314597125e+09,1.7953011045028810501e+09,1.79530110465843892094e+09,1.79530110466178679465e+09);
INSERT INTO "trial" VALUES(1,2,'COMPLETED',0,0,1,'vm:22804','SUCCEEDED',0,NULL,'',0.0,NULL,'{}',1.79530110558256959917e+09,1.79530110558256959917e+09,1.7953011056096560955e+09,1.7953011057453329563e+09,1.79530110575729703902e+09);
INSERT INTO "trial" VALUES(1,3,'FAILED',0,0,1,'vm:22805','FAILED',1,'EXIT_CODE','it ended with exit status 1',0.0,NULL,'{}',1.79530110558256959917e+09,1.79530110558256959917e+09,NULL,NULL,1.7953011056128022671e+09);
INSERT INTO "trial" VALUES(1,4,'COMPLETED',1,0,1,'vm:22809','SUCCEEDED',0,NULL,'',0.0,NULL,'{}',1.7953011055977556705e+09,1.7953011056128022671e+09,1.79530110564376211169e+09,1.79530110579503393176e+09,1.79530110579659557337e+09);
INSERT INTO "trial" VALUES(1,5,'COMPLETED',2,1,1,'vm:22812','SUCCEEDED',0,NULL,'',0.0,NULL,'{}',1.79530110877777242662e+09,1.79530110877777242662e+09,1.79530110880154204367e+09,1.79530110904964590075e+09,1.7953011090580768585e+09);
INSERT INTO "trial" VALUES(1,6,'COMPLETED',3,1,1,'vm:22815','SUCCEEDED',0,NULL,'',0.0,NULL,'{}',1.79530111000439310071e+09,1.79530111000439310071e+09,1.79530111001658391955e+09,1.79530111008962106706e+09,1.79530111009134721753e+09);
CREATE TABLE warm_start (
            experiment_id INTEGER NOT NULL,
            position INTEGER NOT NULL,
            source TEXT NOT NULL,
            parameters TEXT NOT NULL,
            metrics TEXT NOT NULL,
            PRIMARY KEY (experiment_id, position),
            FOREIGN KEY(experiment_id) REFERENCES experiment (id)
        );
CREATE INDEX trial_by_status ON trial (experiment_id, status);
CREATE INDEX event_by_trial ON event (experiment_id, trial_index);
CREATE INDEX command_to_apply ON command (experiment_id, applied_at);
COMMIT;
