BEGIN TRANSACTION;
CREATE TABLE studies (
	study_id INTEGER NOT NULL, 
	study_name VARCHAR(512) NOT NULL, 
	PRIMARY KEY (study_id)
);
INSERT INTO "studies" VALUES(1,'My Net');
INSERT INTO "studies" VALUES(2,'front');
CREATE TABLE study_directions (
	study_direction_id INTEGER NOT NULL, 
	direction VARCHAR(8) NOT NULL, 
	study_id INTEGER NOT NULL, 
	objective INTEGER NOT NULL, 
	PRIMARY KEY (study_direction_id), 
	UNIQUE (study_id, objective), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO "study_directions" VALUES(1,'MINIMIZE',1,0);
INSERT INTO "study_directions" VALUES(2,'MINIMIZE',2,0);
INSERT INTO "study_directions" VALUES(3,'MAXIMIZE',2,1);
CREATE TABLE study_system_attributes (
	study_system_attribute_id INTEGER NOT NULL, 
	study_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (study_system_attribute_id), 
	UNIQUE (study_id, "key"), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO "study_system_attributes" VALUES(1,1,'study:metric_names','["loss"]');
CREATE TABLE study_user_attributes (
	study_user_attribute_id INTEGER NOT NULL, 
	study_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (study_user_attribute_id), 
	UNIQUE (study_id, "key"), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO "study_user_attributes" VALUES(1,1,'team','"vision"');
CREATE TABLE trial_heartbeats (
	trial_heartbeat_id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	heartbeat DATETIME NOT NULL, 
	PRIMARY KEY (trial_heartbeat_id), 
	UNIQUE (trial_id), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
CREATE TABLE trial_intermediate_values (
	trial_intermediate_value_id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	step INTEGER NOT NULL, 
	intermediate_value FLOAT, 
	intermediate_value_type VARCHAR(7) NOT NULL, 
	PRIMARY KEY (trial_intermediate_value_id), 
	UNIQUE (trial_id, step), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_intermediate_values" VALUES(1,1,1,5.54599672224104418317e-04,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(2,2,1,1.13321544504929160729e-03,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(3,3,1,2.43770549282435041935e-03,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(4,4,1,2.08937654708422773999e-03,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(5,5,1,1.50256282798389068956e-03,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(6,6,1,4.75227743261255950032e-05,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(7,7,1,0.00885091612372753,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(8,8,1,7.7918890423899919706e-02,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(9,9,1,1.29429310989310729362e-02,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(10,10,1,4.77465333754501517274e-04,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(11,11,1,1.09900623824383634205e-05,'FINITE');
CREATE TABLE trial_params (
	param_id INTEGER NOT NULL, 
	trial_id INTEGER, 
	param_name VARCHAR(512), 
	param_value FLOAT, 
	distribution_json TEXT, 
	PRIMARY KEY (param_id), 
	UNIQUE (trial_id, param_name), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_params" VALUES(1,1,'lr',5.54599672224104418317e-04,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-05, "high": 0.1, "log": true}}');
INSERT INTO "trial_params" VALUES(2,1,'layers',1.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 1, "high": 8}}');
INSERT INTO "trial_params" VALUES(3,1,'width',72.0,'{"name": "IntDistribution", "attributes": {"log": true, "step": 1, "low": 16, "high": 256}}');
INSERT INTO "trial_params" VALUES(4,1,'drop',0.2,'{"name": "FloatDistribution", "attributes": {"step": 0.05, "low": 0.0, "high": 0.5, "log": false}}');
INSERT INTO "trial_params" VALUES(5,1,'epochs',30.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 20, "low": 10, "high": 50}}');
INSERT INTO "trial_params" VALUES(6,1,'flag',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [true, false]}}');
INSERT INTO "trial_params" VALUES(7,1,'mix',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [null, 1, "a"]}}');
INSERT INTO "trial_params" VALUES(8,1,'optimizer',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["sgd", "adam"]}}');
INSERT INTO "trial_params" VALUES(9,1,'momentum',1.33234145891484218049e-01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0, "high": 0.99, "log": false}}');
INSERT INTO "trial_params" VALUES(10,2,'lr',1.13321544504929160729e-03,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-05, "high": 0.1, "log": true}}');
INSERT INTO "trial_params" VALUES(11,2,'layers',2.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 1, "high": 8}}');
INSERT INTO "trial_params" VALUES(12,2,'width',140.0,'{"name": "IntDistribution", "attributes": {"log": true, "step": 1, "low": 16, "high": 256}}');
INSERT INTO "trial_params" VALUES(13,2,'drop',0.45,'{"name": "FloatDistribution", "attributes": {"step": 0.05, "low": 0.0, "high": 0.5, "log": false}}');
INSERT INTO "trial_params" VALUES(14,2,'epochs',30.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 20, "low": 10, "high": 50}}');
INSERT INTO "trial_params" VALUES(15,2,'flag',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [true, false]}}');
INSERT INTO "trial_params" VALUES(16,2,'mix',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [null, 1, "a"]}}');
INSERT INTO "trial_params" VALUES(17,2,'optimizer',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["sgd", "adam"]}}');
INSERT INTO "trial_params" VALUES(18,3,'lr',2.43770549282435041935e-03,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-05, "high": 0.1, "log": true}}');
INSERT INTO "trial_params" VALUES(19,3,'layers',2.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 1, "high": 8}}');
INSERT INTO "trial_params" VALUES(20,3,'width',21.0,'{"name": "IntDistribution", "attributes": {"log": true, "step": 1, "low": 16, "high": 256}}');
INSERT INTO "trial_params" VALUES(21,3,'drop',0.1,'{"name": "FloatDistribution", "attributes": {"step": 0.05, "low": 0.0, "high": 0.5, "log": false}}');
INSERT INTO "trial_params" VALUES(22,3,'epochs',30.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 20, "low": 10, "high": 50}}');
INSERT INTO "trial_params" VALUES(23,3,'flag',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [true, false]}}');
INSERT INTO "trial_params" VALUES(24,3,'mix',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [null, 1, "a"]}}');
INSERT INTO "trial_params" VALUES(25,3,'optimizer',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["sgd", "adam"]}}');
INSERT INTO "trial_params" VALUES(26,4,'lr',2.08937654708422773999e-03,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-05, "high": 0.1, "log": true}}');
INSERT INTO "trial_params" VALUES(27,4,'layers',2.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 1, "high": 8}}');
INSERT INTO "trial_params" VALUES(28,4,'width',111.0,'{"name": "IntDistribution", "attributes": {"log": true, "step": 1, "low": 16, "high": 256}}');
INSERT INTO "trial_params" VALUES(29,4,'drop',0.5,'{"name": "FloatDistribution", "attributes": {"step": 0.05, "low": 0.0, "high": 0.5, "log": false}}');
INSERT INTO "trial_params" VALUES(30,4,'epochs',30.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 20, "low": 10, "high": 50}}');
INSERT INTO "trial_params" VALUES(31,4,'flag',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [true, false]}}');
INSERT INTO "trial_params" VALUES(32,4,'mix',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [null, 1, "a"]}}');
INSERT INTO "trial_params" VALUES(33,4,'optimizer',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["sgd", "adam"]}}');
INSERT INTO "trial_params" VALUES(34,4,'momentum',0.944204804675418,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0, "high": 0.99, "log": false}}');
INSERT INTO "trial_params" VALUES(35,5,'lr',1.50256282798389068956e-03,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-05, "high": 0.1, "log": true}}');
INSERT INTO "trial_params" VALUES(36,5,'layers',1.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 1, "high": 8}}');
INSERT INTO "trial_params" VALUES(37,5,'width',43.0,'{"name": "IntDistribution", "attributes": {"log": true, "step": 1, "low": 16, "high": 256}}');
INSERT INTO "trial_params" VALUES(38,5,'drop',0.45,'{"name": "FloatDistribution", "attributes": {"step": 0.05, "low": 0.0, "high": 0.5, "log": false}}');
INSERT INTO "trial_params" VALUES(39,5,'epochs',30.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 20, "low": 10, "high": 50}}');
INSERT INTO "trial_params" VALUES(40,5,'flag',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [true, false]}}');
INSERT INTO "trial_params" VALUES(41,5,'mix',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [null, 1, "a"]}}');
INSERT INTO "trial_params" VALUES(42,5,'optimizer',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["sgd", "adam"]}}');
INSERT INTO "trial_params" VALUES(43,5,'momentum',7.57310261847164656323e-01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0, "high": 0.99, "log": false}}');
INSERT INTO "trial_params" VALUES(44,6,'lr',4.75227743261255950032e-05,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-05, "high": 0.1, "log": true}}');
INSERT INTO "trial_params" VALUES(45,6,'layers',3.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 1, "high": 8}}');
INSERT INTO "trial_params" VALUES(46,6,'width',67.0,'{"name": "IntDistribution", "attributes": {"log": true, "step": 1, "low": 16, "high": 256}}');
INSERT INTO "trial_params" VALUES(47,6,'drop',1.50000000000000022204e-01,'{"name": "FloatDistribution", "attributes": {"step": 0.05, "low": 0.0, "high": 0.5, "log": false}}');
INSERT INTO "trial_params" VALUES(48,6,'epochs',10.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 20, "low": 10, "high": 50}}');
INSERT INTO "trial_params" VALUES(49,6,'flag',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [true, false]}}');
INSERT INTO "trial_params" VALUES(50,6,'mix',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [null, 1, "a"]}}');
INSERT INTO "trial_params" VALUES(51,6,'optimizer',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["sgd", "adam"]}}');
INSERT INTO "trial_params" VALUES(52,7,'lr',0.00885091612372753,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-05, "high": 0.1, "log": true}}');
INSERT INTO "trial_params" VALUES(53,7,'layers',4.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 1, "high": 8}}');
INSERT INTO "trial_params" VALUES(54,7,'width',16.0,'{"name": "IntDistribution", "attributes": {"log": true, "step": 1, "low": 16, "high": 256}}');
INSERT INTO "trial_params" VALUES(55,7,'drop',0.4,'{"name": "FloatDistribution", "attributes": {"step": 0.05, "low": 0.0, "high": 0.5, "log": false}}');
INSERT INTO "trial_params" VALUES(56,7,'epochs',10.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 20, "low": 10, "high": 50}}');
INSERT INTO "trial_params" VALUES(57,7,'flag',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [true, false]}}');
INSERT INTO "trial_params" VALUES(58,7,'mix',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [null, 1, "a"]}}');
INSERT INTO "trial_params" VALUES(59,7,'optimizer',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["sgd", "adam"]}}');
INSERT INTO "trial_params" VALUES(60,7,'momentum',0.545468126271175,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0, "high": 0.99, "log": false}}');
INSERT INTO "trial_params" VALUES(61,8,'lr',7.7918890423899919706e-02,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-05, "high": 0.1, "log": true}}');
INSERT INTO "trial_params" VALUES(62,8,'layers',1.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 1, "high": 8}}');
INSERT INTO "trial_params" VALUES(63,8,'width',37.0,'{"name": "IntDistribution", "attributes": {"log": true, "step": 1, "low": 16, "high": 256}}');
INSERT INTO "trial_params" VALUES(64,8,'drop',0.0,'{"name": "FloatDistribution", "attributes": {"step": 0.05, "low": 0.0, "high": 0.5, "log": false}}');
INSERT INTO "trial_params" VALUES(65,8,'epochs',50.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 20, "low": 10, "high": 50}}');
INSERT INTO "trial_params" VALUES(66,8,'flag',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [true, false]}}');
INSERT INTO "trial_params" VALUES(67,8,'mix',2.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [null, 1, "a"]}}');
INSERT INTO "trial_params" VALUES(68,8,'optimizer',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["sgd", "adam"]}}');
INSERT INTO "trial_params" VALUES(69,9,'lr',1.29429310989310729362e-02,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-05, "high": 0.1, "log": true}}');
INSERT INTO "trial_params" VALUES(70,9,'layers',2.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 1, "high": 8}}');
INSERT INTO "trial_params" VALUES(71,9,'width',178.0,'{"name": "IntDistribution", "attributes": {"log": true, "step": 1, "low": 16, "high": 256}}');
INSERT INTO "trial_params" VALUES(72,9,'drop',0.4,'{"name": "FloatDistribution", "attributes": {"step": 0.05, "low": 0.0, "high": 0.5, "log": false}}');
INSERT INTO "trial_params" VALUES(73,9,'epochs',50.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 20, "low": 10, "high": 50}}');
INSERT INTO "trial_params" VALUES(74,9,'flag',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [true, false]}}');
INSERT INTO "trial_params" VALUES(75,9,'mix',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [null, 1, "a"]}}');
INSERT INTO "trial_params" VALUES(76,9,'optimizer',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["sgd", "adam"]}}');
INSERT INTO "trial_params" VALUES(77,10,'lr',4.77465333754501517274e-04,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-05, "high": 0.1, "log": true}}');
INSERT INTO "trial_params" VALUES(78,10,'layers',5.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 1, "high": 8}}');
INSERT INTO "trial_params" VALUES(79,10,'width',85.0,'{"name": "IntDistribution", "attributes": {"log": true, "step": 1, "low": 16, "high": 256}}');
INSERT INTO "trial_params" VALUES(80,10,'drop',0.45,'{"name": "FloatDistribution", "attributes": {"step": 0.05, "low": 0.0, "high": 0.5, "log": false}}');
INSERT INTO "trial_params" VALUES(81,10,'epochs',30.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 20, "low": 10, "high": 50}}');
INSERT INTO "trial_params" VALUES(82,10,'flag',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [true, false]}}');
INSERT INTO "trial_params" VALUES(83,10,'mix',2.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [null, 1, "a"]}}');
INSERT INTO "trial_params" VALUES(84,10,'optimizer',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["sgd", "adam"]}}');
INSERT INTO "trial_params" VALUES(85,10,'momentum',1.09477316318199457967e-01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0, "high": 0.99, "log": false}}');
INSERT INTO "trial_params" VALUES(86,10,'decay',2.74059252536053704618e-02,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0, "high": 0.1, "log": false}}');
INSERT INTO "trial_params" VALUES(87,11,'lr',1.09900623824383634205e-05,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-05, "high": 0.1, "log": true}}');
INSERT INTO "trial_params" VALUES(88,11,'layers',6.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 1, "high": 8}}');
INSERT INTO "trial_params" VALUES(89,11,'width',35.0,'{"name": "IntDistribution", "attributes": {"log": true, "step": 1, "low": 16, "high": 256}}');
INSERT INTO "trial_params" VALUES(90,11,'drop',0.1,'{"name": "FloatDistribution", "attributes": {"step": 0.05, "low": 0.0, "high": 0.5, "log": false}}');
INSERT INTO "trial_params" VALUES(91,11,'epochs',10.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 20, "low": 10, "high": 50}}');
INSERT INTO "trial_params" VALUES(92,11,'flag',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [true, false]}}');
INSERT INTO "trial_params" VALUES(93,11,'mix',2.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [null, 1, "a"]}}');
INSERT INTO "trial_params" VALUES(94,11,'optimizer',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["sgd", "adam"]}}');
INSERT INTO "trial_params" VALUES(95,11,'decay',4.88680862293513519623e-03,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0, "high": 0.1, "log": false}}');
INSERT INTO "trial_params" VALUES(96,13,'x',2.32118251436163935963e-01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0, "high": 1.0, "log": false}}');
INSERT INTO "trial_params" VALUES(97,13,'y',2.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 0, "high": 3}}');
INSERT INTO "trial_params" VALUES(98,14,'x',1.61466562891676712609e-01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0, "high": 1.0, "log": false}}');
INSERT INTO "trial_params" VALUES(99,14,'y',3.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 0, "high": 3}}');
INSERT INTO "trial_params" VALUES(100,15,'x',2.17402426305025930908e-01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0, "high": 1.0, "log": false}}');
INSERT INTO "trial_params" VALUES(101,15,'y',2.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 0, "high": 3}}');
CREATE TABLE trial_system_attributes (
	trial_system_attribute_id INTEGER NOT NULL, 
	trial_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (trial_system_attribute_id), 
	UNIQUE (trial_id, "key"), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
CREATE TABLE trial_user_attributes (
	trial_user_attribute_id INTEGER NOT NULL, 
	trial_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (trial_user_attribute_id), 
	UNIQUE (trial_id, "key"), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
CREATE TABLE trial_values (
	trial_value_id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	objective INTEGER NOT NULL, 
	value FLOAT, 
	value_type VARCHAR(7) NOT NULL, 
	PRIMARY KEY (trial_value_id), 
	UNIQUE (trial_id, objective), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_values" VALUES(1,1,0,5.54599672224104418317e-04,'FINITE');
INSERT INTO "trial_values" VALUES(2,2,0,2.26643089009858321458e-03,'FINITE');
INSERT INTO "trial_values" VALUES(3,3,0,2.43770549282435041935e-03,'FINITE');
INSERT INTO "trial_values" VALUES(4,5,0,1.50256282798389068956e-03,'FINITE');
INSERT INTO "trial_values" VALUES(5,6,0,1.42568322978376771457e-04,'FINITE');
INSERT INTO "trial_values" VALUES(6,7,0,3.54036644949101211854e-02,'FINITE');
INSERT INTO "trial_values" VALUES(7,8,0,7.7918890423899919706e-02,'FINITE');
INSERT INTO "trial_values" VALUES(8,9,0,2.58858621978621458725e-02,'FINITE');
INSERT INTO "trial_values" VALUES(9,10,0,2.38732666877250736953e-03,'FINITE');
INSERT INTO "trial_values" VALUES(10,11,0,6.59403742946301839149e-05,'FINITE');
INSERT INTO "trial_values" VALUES(11,13,0,2.32118251436163935963e-01,'FINITE');
INSERT INTO "trial_values" VALUES(12,13,1,2.0,'FINITE');
INSERT INTO "trial_values" VALUES(13,14,0,1.61466562891676712609e-01,'FINITE');
INSERT INTO "trial_values" VALUES(14,14,1,3.0,'FINITE');
INSERT INTO "trial_values" VALUES(15,15,0,2.17402426305025930908e-01,'FINITE');
INSERT INTO "trial_values" VALUES(16,15,1,2.0,'FINITE');
CREATE TABLE trials (
	trial_id INTEGER NOT NULL, 
	number INTEGER, 
	study_id INTEGER, 
	state VARCHAR(8) NOT NULL, 
	datetime_start DATETIME, 
	datetime_complete DATETIME, 
	PRIMARY KEY (trial_id), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO "trials" VALUES(1,0,1,'COMPLETE','2026-11-22 05:24:24.583564','2026-11-22 05:24:25.271699');
INSERT INTO "trials" VALUES(2,1,1,'COMPLETE','2026-11-22 05:24:25.585939','2026-11-22 05:24:25.976130');
INSERT INTO "trials" VALUES(3,2,1,'PRUNED','2026-11-22 05:24:26.084492','2026-11-22 05:24:26.620144');
INSERT INTO "trials" VALUES(4,3,1,'FAIL','2026-11-22 05:24:26.707324','2026-11-22 05:24:27.042156');
INSERT INTO "trials" VALUES(5,4,1,'COMPLETE','2026-11-22 05:24:27.099238','2026-11-22 05:24:27.636013');
INSERT INTO "trials" VALUES(6,5,1,'COMPLETE','2026-11-22 05:24:27.746381','2026-11-22 05:24:28.256998');
INSERT INTO "trials" VALUES(7,6,1,'COMPLETE','2026-11-22 05:24:28.368609','2026-11-22 05:24:28.838615');
INSERT INTO "trials" VALUES(8,7,1,'COMPLETE','2026-11-22 05:24:28.927703','2026-11-22 05:24:29.368974');
INSERT INTO "trials" VALUES(9,8,1,'COMPLETE','2026-11-22 05:24:29.497839','2026-11-22 05:24:29.876830');
INSERT INTO "trials" VALUES(10,9,1,'COMPLETE','2026-11-22 05:24:29.970647','2026-11-22 05:24:30.550716');
INSERT INTO "trials" VALUES(11,10,1,'COMPLETE','2026-11-22 05:24:30.655655','2026-11-22 05:24:31.108137');
INSERT INTO "trials" VALUES(12,11,1,'RUNNING','2026-11-22 05:24:31.271842',NULL);
INSERT INTO "trials" VALUES(13,0,2,'COMPLETE','2026-11-22 05:24:32.193585','2026-11-22 05:24:32.454371');
INSERT INTO "trials" VALUES(14,1,2,'COMPLETE','2026-11-22 05:24:32.552408','2026-11-22 05:24:32.705716');
INSERT INTO "trials" VALUES(15,2,2,'COMPLETE','2026-11-22 05:24:32.815294','2026-11-22 05:24:32.966323');
CREATE TABLE version_info (
	version_info_id INTEGER NOT NULL, 
	schema_version INTEGER, 
	library_version VARCHAR(256), 
	PRIMARY KEY (version_info_id), 
	CHECK (version_info_id=1)
);
INSERT INTO "version_info" VALUES(1,12,'5.0.0');
CREATE UNIQUE INDEX ix_studies_study_name ON studies (study_name);
CREATE INDEX ix_trials_study_id ON trials (study_id);
COMMIT;
